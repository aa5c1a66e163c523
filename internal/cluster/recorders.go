package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"

	"nau/internal/client"
)

// recorder records events as a source with an identity's rights. All write through the process's one writer; stop ends it.
func (p *controlPlane) recorder(as *client.Set, source corev1.EventSource) (r record.EventRecorder, stop func()) {
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(p.events.Core(&typedcorev1.EventSinkImpl{Interface: as.Kubernetes.CoreV1().Events("")}))
	return broadcaster.NewRecorder(scheme.Scheme, source), broadcaster.Shutdown
}

// seriesRecorder is a recorder of events of the group events.k8s.io, until ctx ends.
func (p *controlPlane) seriesRecorder(ctx context.Context, as *client.Set, name string) (events.EventRecorder, error) {
	broadcaster := events.NewBroadcaster(p.events.V1(&events.EventSinkImpl{Interface: as.Kubernetes.EventsV1()}))
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, fmt.Errorf("record events of %s: %w", name, err)
	}
	context.AfterFunc(ctx, broadcaster.Shutdown)
	return broadcaster.NewRecorder(scheme.Scheme, name), nil
}
