package cri

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/events"
)

// GetContainerEvents pushes what happens to sandboxes and containers, each with the sandbox's state and its containers' at that moment. A client
// that falls too far behind is cut off and must list anew.
func (s *Server) GetContainerEvents(_ *runtimeapi.GetEventsRequest, out grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	return s.pushEvents(s.e.Events.Subscribe(), out)
}

// GetContainerEvents is subscribed when it returns: what happens from then on is told.
func (c runtimeClient) GetContainerEvents(ctx context.Context, in *runtimeapi.GetEventsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[runtimeapi.ContainerEventResponse], error) {
	sub := c.s.e.Events.Subscribe()
	return stream(ctx, in, func(_ *runtimeapi.GetEventsRequest, out grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
		return c.s.pushEvents(sub, out)
	})
}

func (s *Server) pushEvents(sub *events.Subscription, out grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	defer sub.Close()
	for {
		batch, err := sub.Next(out.Context())
		if err != nil {
			if out.Context().Err() != nil {
				return out.Context().Err()
			}
			return status.Error(codes.ResourceExhausted, err.Error())
		}
		for _, ev := range batch {
			resp := s.eventOf(ev)
			if resp == nil {
				continue
			}
			if err := out.Send(resp); err != nil {
				return err
			}
		}
	}
}

// kindOf maps the engine's verbs to CRI's.
var kindOf = map[events.Action]runtimeapi.ContainerEventType{
	events.Create:  runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT,
	events.Start:   runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT,
	events.Die:     runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT,
	events.Destroy: runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT,
}

// eventOf translates an event; nil for what CRI has no word for or is another front's.
func (s *Server) eventOf(ev events.Event) *runtimeapi.ContainerEventResponse {
	kind, ok := kindOf[ev.Action]
	if !ok {
		return nil
	}
	pod := ev.ID
	switch ev.Kind {
	case events.Container:
		pod = ev.Sandbox
	case events.Sandbox:
	default:
		return nil
	}
	resp := &runtimeapi.ContainerEventResponse{ContainerId: ev.ID, ContainerEventType: kind, CreatedAt: ev.Time.UnixNano()}
	if r, err := s.e.Sandboxes.Get(pod); err == nil {
		if r.Config.Origin != Origin {
			return nil
		}
		resp.PodSandboxStatus, resp.ContainersStatuses = s.sandboxStatus(r), s.statusesIn(pod)
	}
	return resp
}
