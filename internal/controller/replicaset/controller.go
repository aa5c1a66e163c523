// Package replicaset keeps as many pods as a ReplicaSet asks for.
//
// In: replica sets, pods. Out: pods created, deleted, adopted and released, the
// set's status. What to do is decided in decide.go, from the caches; between an
// action and its appearance in the cache, expectations hold further ones back, so
// that a lagging cache never makes a pod too many. Package replicationcontroller
// runs the same code for its kind. Only cluster wires it.
package replicaset

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"nau/internal/controller/loop"
	"nau/internal/controller/owned"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder // nil drops events
	Clock     clock.Clock          // nil is the wall clock
	Log       *slog.Logger
}

// Controller runs one kind.
type Controller struct {
	cfg      Config
	kind     Kind
	loop     *loop.Loop[string]
	pods     *owned.Pods
	expect   *owned.Expectations
	written  *owned.Written[*appsv1.ReplicaSet] // statuses
	recorder record.EventRecorder
}

const workers = 4

// New makes the controller of replica sets.
func New(cfg Config) (*Controller, error) { return NewFor(sets(cfg), cfg) }

// NewFor makes the controller of a kind.
func NewFor(kind Kind, cfg Config) (*Controller, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Recorder == nil {
		cfg.Recorder = &record.FakeRecorder{}
	}
	c := &Controller{cfg: cfg, kind: kind, expect: owned.NewExpectations(cfg.Clock), written: owned.NewWritten[*appsv1.ReplicaSet](cfg.Clock), recorder: cfg.Recorder}
	c.loop = loop.New(kind.Name, cfg.Log, c.sync)
	var err error
	if c.pods, err = owned.IndexPods(cfg.Informers); err != nil {
		return nil, err
	}
	if err := c.loop.On(kind.Informer, kind.Handler(c.setChanged)); err != nil {
		return nil, err
	}
	return c, c.loop.On(cfg.Informers.Core().V1().Pods().Informer(), owned.Changes(c.podChanged))
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx, workers) }

// wake puts a key on the queue, unless there is none.
func (c *Controller) wake(key string) {
	if key != "" {
		c.loop.Add(key)
	}
}

func (c *Controller) setChanged(before, after metav1.Object) {
	if after == nil || before != nil && before.GetUID() != after.GetUID() {
		c.expect.Forget(owned.Key(before))
	}
	if after == nil {
		after = before
	}
	c.wake(owned.Key(after))
}

// podChanged wakes the sets that the pod belongs, belonged or could belong to.
func (c *Controller) podChanged(before, after *corev1.Pod) {
	pod := after
	if pod == nil {
		pod = before
	}
	key := c.ownerKey(pod)
	switch {
	case after == nil, pod.DeletionTimestamp != nil:
		if key != "" {
			c.expect.Deleted(key, pod.UID)
			if before == nil { // first seen while it is being deleted
				c.expect.Created(key)
			}
		}
	case before == nil && key != "":
		c.expect.Created(key)
	}
	c.wake(key)
	if before != nil && after != nil {
		if old := c.ownerKey(before); old != key {
			c.wake(old)
		}
	}
	if metav1.GetControllerOfNoCopy(pod) == nil && after != nil {
		changed := before == nil || metav1.GetControllerOfNoCopy(before) != nil ||
			!equality.Semantic.DeepEqual(before.Labels, after.Labels)
		if changed {
			c.addMatching(pod)
		}
	}
}

// ownerKey is the key of the pod's controlling set, "" if it is of another kind.
func (c *Controller) ownerKey(pod *corev1.Pod) string {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != c.kind.GVK.Kind || ref.APIVersion != c.kind.GVK.GroupVersion().String() {
		return ""
	}
	return pod.Namespace + "/" + ref.Name
}

func (c *Controller) addMatching(pod *corev1.Pod) {
	sets, err := c.kind.List(pod.Namespace)
	if err != nil {
		return
	}
	for _, set := range sets {
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			c.wake(owned.Key(set))
		}
	}
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name := owned.Split(key)
	settled := c.expect.Met(key) // before the caches are read
	set, err := c.kind.Get(namespace, name)
	if apierrors.IsNotFound(err) {
		c.expect.Forget(key)
		c.written.Forget(key)
		return nil
	}
	if err != nil {
		return err
	}
	set = c.written.Newest(key, set)
	s := state{set: set, owned: c.pods.Of(set.UID), loose: c.pods.Orphans(namespace), settled: settled}
	if len(s.owned) > int(replicas(set)) {
		s.related = c.related(set)
	}
	p, err := decide(s)
	if err != nil {
		c.recorder.Eventf(set, corev1.EventTypeWarning, "InvalidSelector", "%v", err)
		return nil // until somebody edits it
	}
	claimed, err := c.claim(ctx, set, p)
	if err != nil {
		return err
	}
	var failed string
	var failure error
	switch {
	case p.create > 0:
		failed, failure = "FailedCreate", c.create(ctx, key, set, p.create)
	case len(p.delete) > 0:
		failed, failure = "FailedDelete", c.delete(ctx, key, set, p.delete)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	pods := append(without(s.owned, p.release), claimed...)
	status, again := describe(c.cfg.Clock.Now(), set, pods, failed, failure)
	if err := c.report(ctx, set, status); err != nil {
		return err
	}
	if again > 0 {
		c.loop.AddAfter(key, again)
	}
	return failure
}

// related are the pods of all sets with the same owner as this one.
func (c *Controller) related(set *appsv1.ReplicaSet) []*corev1.Pod {
	pods := append([]*corev1.Pod(nil), c.pods.Of(set.UID)...)
	owner := metav1.GetControllerOf(set)
	if owner == nil {
		return pods
	}
	siblings, err := c.kind.List(set.Namespace)
	if err != nil {
		return pods
	}
	for _, s := range siblings {
		if ref := metav1.GetControllerOfNoCopy(s); s.UID != set.UID && ref != nil && ref.UID == owner.UID {
			pods = append(pods, c.pods.Of(s.UID)...)
		}
	}
	return pods
}

func without(pods, out []*corev1.Pod) []*corev1.Pod {
	kept := make([]*corev1.Pod, 0, len(pods))
next:
	for _, pod := range pods {
		for _, o := range out {
			if o == pod {
				continue next
			}
		}
		kept = append(kept, pod)
	}
	return kept
}

// claim adopts and releases. Before the first adoption the set is read from the
// server: one that is being deleted, or another of the same name, adopts nothing.
func (c *Controller) claim(ctx context.Context, set *appsv1.ReplicaSet, p plan) (adopted []*corev1.Pod, err error) {
	if len(p.adopt) > 0 {
		live, err := c.kind.Live(ctx, set.Namespace, set.Name)
		if err != nil {
			return nil, fmt.Errorf("adopt pods: %w", err)
		}
		if live.UID != set.UID || live.DeletionTimestamp != nil {
			return nil, fmt.Errorf("adopt pods: %s %s/%s is being deleted", c.kind.GVK.Kind, set.Namespace, set.Name)
		}
	}
	for _, pod := range p.adopt {
		patched, err := c.patch(ctx, pod, owned.AdoptPatch(set, c.kind.GVK, pod.UID))
		if err != nil {
			return nil, fmt.Errorf("adopt pod %s: %w", pod.Name, err)
		}
		if patched != nil {
			adopted = append(adopted, patched)
		}
	}
	for _, pod := range p.release {
		if _, err := c.patch(ctx, pod, owned.ReleasePatch(set, pod.UID)); err != nil {
			return nil, fmt.Errorf("release pod %s: %w", pod.Name, err)
		}
	}
	return adopted, nil
}

// patch returns nil for a pod that is gone, or another of its name.
func (c *Controller) patch(ctx context.Context, pod *corev1.Pod, patch []byte) (*corev1.Pod, error) {
	patched, err := c.cfg.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsConflict(err) {
		return nil, nil
	}
	return patched, err
}

// create makes n pods in batches that double as long as all goes well: what is
// refused once would be refused n times.
func (c *Controller) create(ctx context.Context, key string, set *appsv1.ReplicaSet, n int) error {
	c.expect.Create(key, n)
	for batch := 1; n > 0; batch *= 2 {
		batch = min(batch, n)
		errs := make([]error, batch)
		var wg sync.WaitGroup
		for i := range batch {
			wg.Go(func() { errs[i] = c.createOne(ctx, set) })
		}
		wg.Wait()
		n -= batch
		var failure error
		for _, err := range errs {
			if err != nil {
				c.expect.Created(key)
				failure = err
			}
		}
		if failure != nil {
			for range n {
				c.expect.Created(key)
			}
			if apierrors.HasStatusCause(failure, corev1.NamespaceTerminatingCause) {
				return nil // everything in it is going away, the set too
			}
			return failure
		}
	}
	return nil
}

func (c *Controller) createOne(ctx context.Context, set *appsv1.ReplicaSet) error {
	pod, err := c.cfg.Client.CoreV1().Pods(set.Namespace).Create(ctx, newPod(set, c.kind.GVK), metav1.CreateOptions{})
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.recorder.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		}
		return err
	}
	c.recorder.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
	return nil
}

func (c *Controller) delete(ctx context.Context, key string, set *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	for _, pod := range pods {
		c.expect.Delete(key, pod.UID)
	}
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i, pod := range pods {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = c.deleteOne(ctx, key, set, pod)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) deleteOne(ctx context.Context, key string, set *appsv1.ReplicaSet, pod *corev1.Pod) error {
	err := c.cfg.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err == nil {
		c.recorder.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", pod.Name)
		return nil
	}
	c.expect.Deleted(key, pod.UID)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	c.recorder.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
	return err
}

func (c *Controller) report(ctx context.Context, set *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if !c.kind.Terminating {
		status.TerminatingReplicas = nil
	}
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	set = set.DeepCopy()
	set.Status = status
	updated, err := c.kind.UpdateStatus(ctx, set)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	c.written.Put(owned.Key(set), updated)
	return nil
}
