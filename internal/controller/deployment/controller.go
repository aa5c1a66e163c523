// Package deployment rolls pods from one template to the next through replica
// sets.
//
// In: deployments, replica sets, pods (for Recreate). Out: replica sets made,
// scaled, annotated and removed, the deployment's status and revision. decide.go
// holds the strategies, status.go the conditions, set.go the arithmetic and the
// annotations that kubectl's rollout commands read. Only cluster wires it.
package deployment

import (
	"context"
	"fmt"
	"log/slog"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
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

// Controller is the controller; its keys are deployments.
type Controller struct {
	cfg         Config
	loop        *loop.Loop[string]
	deployments appslisters.DeploymentLister
	sets        appslisters.ReplicaSetLister
	owned       *owned.ByController[*appsv1.ReplicaSet]
	pods        *owned.Pods

	// What was written and is not in the caches yet, by the deployment's key.
	wroteSets *owned.Written[*appsv1.ReplicaSet]
	wroteSelf *owned.Written[*appsv1.Deployment]
}

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

const workers = 4

// New makes the controller.
func New(cfg Config) (*Controller, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Recorder == nil {
		cfg.Recorder = &record.FakeRecorder{}
	}
	apps := cfg.Informers.Apps().V1()
	c := &Controller{
		cfg: cfg, deployments: apps.Deployments().Lister(), sets: apps.ReplicaSets().Lister(),
		wroteSets: owned.NewWritten[*appsv1.ReplicaSet](cfg.Clock),
		wroteSelf: owned.NewWritten[*appsv1.Deployment](cfg.Clock),
	}
	c.loop = loop.New("deployment", cfg.Log, c.sync)
	var err error
	if c.owned, err = owned.Index[*appsv1.ReplicaSet](apps.ReplicaSets().Informer()); err != nil {
		return nil, err
	}
	if c.pods, err = owned.IndexPods(cfg.Informers); err != nil {
		return nil, err
	}
	if err := c.loop.On(apps.Deployments().Informer(), owned.Changes(func(before, after *appsv1.Deployment) {
		if after != nil {
			c.loop.Add(owned.Key(after))
		}
	})); err != nil {
		return nil, err
	}
	if err := c.loop.On(apps.ReplicaSets().Informer(), owned.Changes(c.setChanged)); err != nil {
		return nil, err
	}
	return c, c.loop.On(cfg.Informers.Core().V1().Pods().Informer(), owned.Changes(c.podChanged))
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx, workers) }

func ownerOf(o metav1.Object) string {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil || ref.Kind != kind.Kind || ref.APIVersion != kind.GroupVersion().String() {
		return ""
	}
	return o.GetNamespace() + "/" + ref.Name
}

func (c *Controller) setChanged(before, after *appsv1.ReplicaSet) {
	set := after
	if set == nil {
		set = before
	}
	key := ownerOf(set)
	if key != "" {
		if after == nil {
			c.wroteSets.Gone(key, set)
		}
		c.loop.Add(key)
	}
	if before != nil && after != nil {
		if old := ownerOf(before); old != "" && old != key {
			c.loop.Add(old)
		}
	}
	if after == nil || metav1.GetControllerOfNoCopy(after) != nil {
		return
	}
	all, err := c.deployments.Deployments(after.Namespace).List(labels.Everything())
	if err != nil {
		return
	}
	for _, d := range all {
		if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil && !s.Empty() && s.Matches(labels.Set(after.Labels)) {
			c.loop.Add(owned.Key(d))
		}
	}
}

// podChanged matters to Recreate only: its next step begins when the last old pod
// has ended.
func (c *Controller) podChanged(before, after *corev1.Pod) {
	if before == nil || after != nil && after.Status.Phase == before.Status.Phase {
		return
	}
	ref := metav1.GetControllerOfNoCopy(before)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return
	}
	set, err := c.sets.ReplicaSets(before.Namespace).Get(ref.Name)
	if err != nil || set.UID != ref.UID {
		return
	}
	ns, name := owned.Split(ownerOf(set))
	d, err := c.deployments.Deployments(ns).Get(name)
	if err == nil && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.loop.Add(owned.Key(d))
	}
}

func (c *Controller) sync(ctx context.Context, key string) error {
	ns, name := owned.Split(key)
	cached, err := c.deployments.Deployments(ns).Get(name)
	if apierrors.IsNotFound(err) {
		c.wroteSets.Forget(key)
		c.wroteSelf.Forget(key)
		return nil
	}
	if err != nil {
		return err
	}
	cached = c.wroteSelf.Newest(key, cached)
	d := cached.DeepCopy()
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() {
		c.cfg.Recorder.Event(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		d.Status.ObservedGeneration = d.Generation
		return c.report(ctx, cached, d.Status)
	}
	s := state{now: c.cfg.Clock.Now(), deployment: d, running: map[types.UID]bool{}}
	if s.sets, err = c.claim(ctx, d, selector); err != nil {
		return err
	}
	for _, set := range s.sets {
		for _, pod := range c.pods.Of(set.UID) {
			if pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
				s.running[set.UID] = true
			}
		}
	}
	p := decide(s)
	if err := c.act(ctx, cached, d, p); err != nil {
		return err
	}
	if p.again > 0 {
		c.loop.AddAfter(key, p.again)
	}
	return nil
}

// claim returns copies of the deployment's sets, adopting and releasing as the
// selector says.
func (c *Controller) claim(ctx context.Context, d *appsv1.Deployment, selector labels.Selector) ([]*appsv1.ReplicaSet, error) {
	all := append(c.owned.Of(d.UID), c.owned.Orphans(d.Namespace)...)
	all = c.wroteSets.Over(owned.Key(d), all)
	var mine []*appsv1.ReplicaSet
	checked := false
	for _, set := range all {
		ref, match := metav1.GetControllerOfNoCopy(set), selector.Matches(labels.Set(set.Labels))
		var patch []byte
		switch {
		case ref != nil && ref.UID == d.UID && match:
			mine = append(mine, set.DeepCopy())
			continue
		case ref != nil && ref.UID == d.UID && d.DeletionTimestamp == nil:
			patch = owned.ReleasePatch(d, set.UID)
		case ref == nil && match && d.DeletionTimestamp == nil && set.DeletionTimestamp == nil:
			if !checked {
				live, err := c.cfg.Client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
				if err != nil || live.UID != d.UID || live.DeletionTimestamp != nil {
					return nil, fmt.Errorf("adopt replica set %s: deployment %s is being deleted (%v)", set.Name, d.Name, err)
				}
				checked = true
			}
			patch = owned.AdoptPatch(d, kind, set.UID)
		default:
			continue
		}
		patched, err := c.cfg.Client.AppsV1().ReplicaSets(set.Namespace).Patch(ctx, set.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsInvalid(err):
		case err != nil:
			return nil, fmt.Errorf("claim replica set %s: %w", set.Name, err)
		case ref == nil:
			mine = append(mine, patched)
		}
	}
	return mine, nil
}

// act carries a plan out.
func (c *Controller) act(ctx context.Context, cached, d *appsv1.Deployment, p plan) error {
	client := c.cfg.Client.AppsV1().ReplicaSets(d.Namespace)
	if p.create != nil {
		if done, err := c.create(ctx, cached, d, p); done || err != nil {
			return err
		}
	}
	for _, set := range p.update {
		updated, err := client.Update(ctx, set, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("update replica set %s: %w", set.Name, err)
		}
		c.wroteSets.Put(owned.Key(d), updated)
	}
	for _, e := range p.events {
		c.cfg.Recorder.Event(cached, e.kind, e.reason, e.message)
	}
	for _, set := range p.remove {
		err := client.Delete(ctx, set.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(set.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete replica set %s: %w", set.Name, err)
		}
	}
	if p.revision != "" {
		noted := cached.DeepCopy()
		noted.Annotations = with(noted.Annotations, RevisionAnnotation, p.revision)
		noted, err := c.cfg.Client.AppsV1().Deployments(d.Namespace).Update(ctx, noted, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("note revision %s: %w", p.revision, err)
		}
		c.wroteSelf.Put(owned.Key(d), noted)
		cached = noted
	}
	return c.report(ctx, cached, p.status)
}

// create makes the new set. If its name is taken by another template, the next
// try hashes differently; done tells that this try is over.
func (c *Controller) create(ctx context.Context, cached, d *appsv1.Deployment, p plan) (done bool, err error) {
	client := c.cfg.Client.AppsV1().ReplicaSets(d.Namespace)
	created, err := client.Create(ctx, p.create, metav1.CreateOptions{})
	switch {
	case err == nil:
		c.wroteSets.Put(owned.Key(d), created)
		return false, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return true, nil
	case apierrors.IsAlreadyExists(err):
		there, gerr := client.Get(ctx, p.create.Name, metav1.GetOptions{})
		if gerr != nil {
			return true, gerr
		}
		if ref := metav1.GetControllerOf(there); ref != nil && ref.UID == d.UID && sameTemplate(&d.Spec.Template, &there.Spec.Template) {
			return true, nil // made before; its event is on the way
		}
		status := cached.Status.DeepCopy()
		if status.CollisionCount == nil {
			status.CollisionCount = new(int32)
		}
		*status.CollisionCount++
		if err := c.report(ctx, cached, *status); err != nil {
			return true, err
		}
		return true, err
	}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", p.create.Name, err)
	c.cfg.Recorder.Event(cached, corev1.EventTypeWarning, "ReplicaSetCreateError", message)
	if hasDeadline(d) {
		status := cached.Status.DeepCopy()
		r := rollout{state: state{now: c.cfg.Clock.Now()}}
		setCondition(status, r.condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, "ReplicaSetCreateError", message))
		if rerr := c.report(ctx, cached, *status); rerr != nil {
			return true, rerr
		}
	}
	return true, err
}

func (c *Controller) report(ctx context.Context, d *appsv1.Deployment, status appsv1.DeploymentStatus) error {
	if equality.Semantic.DeepEqual(d.Status, status) {
		return nil
	}
	d = d.DeepCopy()
	d.Status = status
	updated, err := c.cfg.Client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("update status: %w", err)
	}
	c.wroteSelf.Put(owned.Key(d), updated)
	return nil
}
