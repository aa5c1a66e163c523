package nodeagent

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// followPods subscribes to this node's pods and returns once all that exist have a worker.
func (a *Agent) followPods(ctx context.Context) error {
	inf := a.cfg.Pods
	if inf == nil {
		f := informers.NewSharedInformerFactoryWithOptions(a.cfg.Client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", a.cfg.NodeName).String()
		}))
		inf = f.Core().V1().Pods().Informer()
		a.spawn(func() { inf.RunWithContext(ctx) })
	}
	// Who may have what is decided when all pods of the node are known: those that run hold what they have.
	a.admission.Lock()
	defer a.admission.Unlock()
	reg, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { a.podChanged(o) },
		UpdateFunc: func(_, o any) { a.podChanged(o) },
		DeleteFunc: func(o any) {
			if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = t.Obj
			}
			a.podGone(o)
		},
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = inf.RemoveEventHandler(reg) })
	select {
	case <-reg.HasSyncedChecker().Done():
	case <-ctx.Done():
		return errors.New("wait for the node's pods: ended before they were known")
	}
	close(a.ready)
	a.reapOrphans(ctx)
	return nil
}

// Pods lists the pods that the agent works for, with the newest status it has of each.
func (a *Agent) Pods() []*corev1.Pod {
	a.mu.Lock()
	list := make([]*worker, 0, len(a.workers))
	for _, w := range a.workers {
		list = append(list, w)
	}
	a.mu.Unlock()
	out := make([]*corev1.Pod, 0, len(list))
	for _, w := range list {
		w.mu.Lock()
		out = append(out, w.viewLocked())
		w.mu.Unlock()
	}
	return out
}

func (a *Agent) podChanged(o any) {
	pod, ok := o.(*corev1.Pod)
	if !ok || pod.Spec.NodeName != a.cfg.NodeName {
		return
	}
	if pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		a.mirrorChanged(pod)
		return
	}
	uid := string(pod.UID)
	a.mu.Lock()
	w := a.workers[uid]
	if w == nil {
		w = newWorker(a, uid)
		w.obs = a.found[uid]
		delete(a.found, uid)
		a.workers[uid] = w
	}
	a.mu.Unlock()
	w.update(pod)
}

func (a *Agent) podGone(o any) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	if pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		a.mirrorGone(pod)
		return
	}
	if w := a.worker(string(pod.UID)); w != nil {
		w.vanish(pod)
	}
}

// forget is called by a worker that has cleaned up after a pod that is gone.
func (a *Agent) forget(w *worker) {
	a.mu.Lock()
	if a.workers[w.uid] == w {
		delete(a.workers, w.uid)
	}
	a.mu.Unlock()
	a.weighBurstable()
}

// burstableDelay bunches changes of the burstable class's weight.
const burstableDelay = 100 * time.Millisecond
