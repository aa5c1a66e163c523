package scheduler

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"nau/internal/scheduler/queue"
)

// binding is a decision on its way to the API.
type binding struct {
	item *queue.Item
	node string
}

func (s *Scheduler) bindLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-s.bindings:
			s.bind(ctx, b)
		}
	}
}

func (s *Scheduler) bind(ctx context.Context, b binding) {
	pod := b.item.Pod.Object
	err := s.config.Client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.node},
	}, metav1.CreateOptions{})
	if err == nil {
		s.config.Recorder.Eventf(pod, nil, corev1.EventTypeNormal, "Scheduled", "Binding",
			"Successfully assigned %v/%v to %v", pod.Namespace, pod.Name, b.node)
		return
	}
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	s.cluster.Forget(pod.UID)
	if apierrors.IsNotFound(err) {
		s.queue.Remove(pod.UID)
	} else {
		s.queue.Failed(b.item, nil, true, s.config.Clock.Now())
	}
	s.mu.Unlock()
	s.nudge()
	if !apierrors.IsNotFound(err) {
		s.config.Log.Warn("bind pod", "pod", pod.Namespace+"/"+pod.Name, "node", b.node, "error", err)
		s.report(ctx, b.item, fmt.Sprintf("binding rejected: %v", err), "")
	}
}

// report tells the pod's owner why it waits: an event, and the condition
// PodScheduled=False on the pod, with the node nominated for it, if any. The same
// reason is told once.
func (s *Scheduler) report(ctx context.Context, item *queue.Item, message, nominated string) {
	if item.Reported(message) && nominated == "" {
		return
	}
	pod := item.Pod.Object
	s.config.Recorder.Eventf(pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", message)
	status := map[string]any{"conditions": []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
		LastTransitionTime: metav1.NewTime(s.config.Clock.Now()), ObservedGeneration: pod.Generation,
	}}}
	if nominated != "" {
		status["nominatedNodeName"] = nominated
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		s.config.Log.Error("encode pod condition", "error", err)
		return
	}
	_, err = s.config.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
		s.config.Log.Warn("write pod condition", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	}
}

// startRecorder gives the scheduler an event recorder of its own; the function
// that it returns flushes and stops it.
func (s *Scheduler) startRecorder(ctx context.Context) (stop func()) {
	broadcaster := events.NewEventBroadcasterAdapterWithContext(ctx, s.config.Client)
	broadcaster.StartRecordingToSink(ctx.Done())
	s.config.Recorder = broadcaster.NewRecorder(s.config.Name)
	return broadcaster.Shutdown
}
