package cri

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/sandbox"
)

// sandboxGrace is what containers get to end when their sandbox is stopped: the kubelet has stopped them before, with their own grace.
const sandboxGrace = 0

// StopPodSandbox ends what runs in the sandbox and gives its network back. Stopping what does not exist succeeds.
func (s *Server) StopPodSandbox(ctx context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	r, err := s.findSandbox(req.GetPodSandboxId())
	if errors.Is(err, sandbox.ErrNotFound) {
		return &runtimeapi.StopPodSandboxResponse{}, nil
	}
	if err == nil {
		err = s.e.StopSandbox(ctx, r.ID, sandboxGrace)
	}
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// RemovePodSandbox removes the sandbox and all its containers. Removing what does not exist succeeds.
func (s *Server) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	r, err := s.findSandbox(req.GetPodSandboxId())
	if errors.Is(err, sandbox.ErrNotFound) {
		return &runtimeapi.RemovePodSandboxResponse{}, nil
	}
	if err != nil {
		return nil, fault(err)
	}
	in := s.e.Containers.In(r.ID)
	if err := s.e.RemoveSandbox(ctx, r.ID); err != nil {
		return nil, fault(err)
	}
	for _, c := range in {
		s.forget(c.ID)
	}
	s.forget(r.ID)
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

func (s *Server) findSandbox(id string) (*sandbox.Record, error) { return s.e.Sandboxes.Find(id) }

// PodSandboxStatus tells a sandbox's state, and its containers'.
func (s *Server) PodSandboxStatus(ctx context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	r, err := s.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, fault(err)
	}
	resp := &runtimeapi.PodSandboxStatusResponse{Status: s.sandboxStatus(r), ContainersStatuses: s.statusesIn(r.ID), Timestamp: time.Now().UnixNano()}
	if req.GetVerbose() {
		b, err := json.Marshal(r)
		if err != nil {
			return nil, internalError(err)
		}
		resp.Info = map[string]string{"record": string(b)}
	}
	return resp, nil
}

func (s *Server) sandboxStatus(r *sandbox.Record) *runtimeapi.PodSandboxStatus {
	c := s.configs.sandbox(r)
	st := &runtimeapi.PodSandboxStatus{
		Id: r.ID, Metadata: c.GetMetadata(), State: sandboxState(r), CreatedAt: r.Created.UnixNano(),
		Labels: c.GetLabels(), Annotations: c.GetAnnotations(), RuntimeHandler: r.Config.Runtime,
		Network: &runtimeapi.PodSandboxNetworkStatus{},
		Linux:   &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: c.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}
	if st.Linux.Namespaces.Options == nil {
		st.Linux.Namespaces.Options = &runtimeapi.NamespaceOption{}
	}
	if r.State == sandbox.Ready {
		for i, a := range r.Addrs() {
			if i == 0 {
				st.Network.Ip = a.String()
			} else {
				st.Network.AdditionalIps = append(st.Network.AdditionalIps, &runtimeapi.PodIP{Ip: a.String()})
			}
		}
	}
	return st
}

func sandboxState(r *sandbox.Record) runtimeapi.PodSandboxState {
	if r.State == sandbox.Ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// ListPodSandbox lists this front's sandboxes.
func (s *Server) ListPodSandbox(ctx context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	resp := &runtimeapi.ListPodSandboxResponse{}
	for _, r := range s.selectSandboxes(req.GetFilter()) {
		c := s.configs.sandbox(r)
		resp.Items = append(resp.Items, &runtimeapi.PodSandbox{Id: r.ID, Metadata: c.GetMetadata(), State: sandboxState(r), CreatedAt: r.Created.UnixNano(),
			Labels: c.GetLabels(), Annotations: c.GetAnnotations(), RuntimeHandler: r.Config.Runtime})
	}
	return resp, nil
}

func (s *Server) selectSandboxes(f *runtimeapi.PodSandboxFilter) []*sandbox.Record {
	all := s.e.Sandboxes.List()
	if id := f.GetId(); id != "" {
		r, err := s.findSandbox(id)
		if err != nil {
			return nil
		}
		all = []*sandbox.Record{r}
	}
	var out []*sandbox.Record
	for _, r := range all {
		if r.Config.Origin == Origin && (f.GetState() == nil || f.GetState().GetState() == sandboxState(r)) && matches(f.GetLabelSelector(), r.Config.Labels) {
			out = append(out, r)
		}
	}
	return out
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// page is how many items one message of a streamed list carries.
const page = 256

// sendPages sends items in messages of a page.
func sendPages[I, M any](items []I, stream grpc.ServerStreamingServer[M], message func([]I) *M) error {
	for len(items) > 0 {
		n := min(page, len(items))
		if err := stream.Send(message(items[:n])); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// StreamPodSandboxes is ListPodSandbox in pages.
func (s *Server) StreamPodSandboxes(req *runtimeapi.StreamPodSandboxesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxesResponse]) error {
	all, err := s.ListPodSandbox(stream.Context(), &runtimeapi.ListPodSandboxRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return sendPages(all.GetItems(), stream, func(p []*runtimeapi.PodSandbox) *runtimeapi.StreamPodSandboxesResponse {
		return &runtimeapi.StreamPodSandboxesResponse{PodSandboxes: p}
	})
}

// UpdatePodSandboxResources notes a pod's new limits. The pod's cgroup is the kubelet's to change.
func (s *Server) UpdatePodSandboxResources(ctx context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	r, err := s.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, fault(err)
	}
	err = s.e.Sandboxes.Update(r.ID, func(r *sandbox.Record) { r.Config.Resources = r.Config.Resources.With(limitsOf(req.GetResources())) })
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}
