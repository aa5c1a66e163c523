package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/cache"

	"nau/internal/scheduler/plugin"
)

// listen turns the informers' events into changes of the picture and wake-ups
// of waiting pods.
func (s *Scheduler) listen() error {
	nodes := s.config.Informers.Core().V1().Nodes().Informer()
	pods := s.config.Informers.Core().V1().Pods().Informer()
	nodeHandler, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.nodeSet(nil, obj.(*corev1.Node)) },
		UpdateFunc: func(old, obj any) { s.nodeSet(old.(*corev1.Node), obj.(*corev1.Node)) },
		DeleteFunc: func(obj any) { s.nodeGone(last[*corev1.Node](obj)) },
	})
	if err != nil {
		return err
	}
	podHandler, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.podSet(nil, obj.(*corev1.Pod)) },
		UpdateFunc: func(old, obj any) { s.podSet(old.(*corev1.Pod), obj.(*corev1.Pod)) },
		DeleteFunc: func(obj any) { s.podGone(last[*corev1.Pod](obj)) },
	})
	if err != nil {
		return err
	}
	namespaces, err := s.config.Informers.Core().V1().Namespaces().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, obj any) {
			if !maps.Equal(old.(*corev1.Namespace).Labels, obj.(*corev1.Namespace).Labels) {
				s.mu.Lock()
				s.ranking.Reset()
				s.mu.Unlock()
			}
		},
	})
	if err != nil {
		return err
	}
	s.synced = []cache.InformerSynced{nodeHandler.HasSynced, podHandler.HasSynced, namespaces.HasSynced}
	return nil
}

// last is the last known state of a deleted object.
func last[T any](obj any) T {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	t, _ := obj.(T)
	return t
}

func (s *Scheduler) nodeSet(old, node *corev1.Node) {
	if old != nil && !nodeMatters(old, node) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := plugin.NodeChanged
	if old == nil {
		kind = plugin.NodeAdded
	}
	now := s.cluster.SetNode(node)
	if s.queue.Event(plugin.Event{Kind: kind, Node: now}, s.config.Clock.Now()) > 0 {
		s.nudge()
	}
}

// nodeMatters tells whether a node changed in a way that any rule looks at;
// heartbeats do not.
func nodeMatters(old, node *corev1.Node) bool {
	return old.Spec.Unschedulable != node.Spec.Unschedulable ||
		!maps.Equal(old.Labels, node.Labels) ||
		!slices.EqualFunc(old.Spec.Taints, node.Spec.Taints, func(a, b corev1.Taint) bool {
			return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
		}) ||
		!equality.Semantic.DeepEqual(old.Status.Allocatable, node.Status.Allocatable) ||
		len(old.Status.Images) != len(node.Status.Images)
}

func (s *Scheduler) nodeGone(node *corev1.Node) {
	if node == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster.RemoveNode(node.Name)
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func (s *Scheduler) podSet(old, pod *corev1.Pod) {
	if old != nil && old.UID != pod.UID { // deleted and made again between two looks
		s.podGone(old)
		old = nil
	}
	switch {
	case ended(pod):
		s.podGone(pod)
	case pod.Spec.NodeName != "":
		s.podBound(old, pod)
	case pod.Spec.SchedulerName != s.config.Name:
	case pod.DeletionTimestamp != nil:
		s.podGone(pod)
	default:
		s.podWaits(old, pod)
	}
}

func (s *Scheduler) podWaits(old, pod *corev1.Pod) {
	if old != nil && old.Generation == pod.Generation && maps.Equal(old.Labels, pod.Labels) &&
		len(old.Spec.SchedulingGates) == len(pod.Spec.SchedulingGates) && old.Generation != 0 {
		return // only its status changed, most likely by this scheduler
	}
	p := plugin.NewPod(pod)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster.Holds(pod.UID) && s.nominated[pod.UID] == nil {
		return // booked: its binding is on the way
	}
	s.queue.Add(p, s.config.Clock.Now())
	s.nudge()
}

func (s *Scheduler) podBound(old, pod *corev1.Pod) {
	if old != nil && old.Spec.NodeName == pod.Spec.NodeName && old.Generation == pod.Generation &&
		equality.Semantic.DeepEqual(old.Spec.Containers, pod.Spec.Containers) && !resized(old, pod) {
		return // status only
	}
	p := plugin.NewPod(pod)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.Remove(pod.UID)
	delete(s.nominated, pod.UID)
	fresh := !s.cluster.Holds(pod.UID)
	shrunk := old != nil && old.Spec.NodeName == pod.Spec.NodeName
	s.cluster.SetPod(p)
	if fresh {
		s.helped(plugin.Event{Kind: plugin.PodBound, Node: s.cluster.Lookup(pod.Spec.NodeName), Pod: p})
	}
	if shrunk {
		s.helped(plugin.Event{Kind: plugin.PodShrunk, Node: s.cluster.Lookup(pod.Spec.NodeName), Pod: p})
	}
}

func resized(old, pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		if i >= len(old.Status.ContainerStatuses) ||
			!equality.Semantic.DeepEqual(old.Status.ContainerStatuses[i].AllocatedResources, pod.Status.ContainerStatuses[i].AllocatedResources) {
			return true
		}
	}
	return false
}

func (s *Scheduler) podGone(pod *corev1.Pod) {
	if pod == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.Remove(pod.UID)
	delete(s.nominated, pod.UID)
	if !s.cluster.Holds(pod.UID) {
		return
	}
	node := s.cluster.RemovePod(pod.UID)
	for preemptor, n := range s.nominated {
		if slices.Contains(n.victims, pod.UID) && !s.waitsForVictims(preemptor) {
			s.queue.Activate(preemptor, s.config.Clock.Now())
			s.nudge()
		}
	}
	s.helped(plugin.Event{Kind: plugin.PodLeft, Node: node, Pod: plugin.NewPod(pod)})
}

// helped wakes the pods that an event helps; s.mu is held.
func (s *Scheduler) helped(e plugin.Event) {
	if s.queue.Event(e, s.config.Clock.Now()) > 0 {
		s.nudge()
	}
}
