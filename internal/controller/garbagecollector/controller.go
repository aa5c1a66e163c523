// Package garbagecollector deletes what has lost its owners, and carries out
// foreground and orphaning deletions.
//
// In: the metadata of every object that can be listed, watched and deleted,
// custom ones too. Out: deletions, and patches of owner references and of the two
// finalizers. graph.go knows who belongs to whom; decide.go judges an object by
// its owners. Whatever the graph says, the server is asked before anything is
// deleted. Only cluster wires it.
package garbagecollector

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"nau/internal/controller/loop"
)

// Config is what the controller needs.
type Config struct {
	Metadata  metadata.Interface
	Discovery discovery.DiscoveryInterface
	// ListerWatcher follows a resource; only metadata is read.
	ListerWatcher func(schema.GroupVersionResource) cache.ListerWatcher
	Recorder      record.EventRecorder // nil drops events
	Log           *slog.Logger
}

// Controller is the controller: one loop for objects that may have to go, one for
// owners whose dependents are to be let go.
type Controller struct {
	cfg    Config
	graph  *graph
	remove *loop.Loop[types.UID]
	orphan *loop.Loop[types.UID]

	changed chan struct{} // the set of resources may have

	mu       sync.Mutex
	kinds    kinds
	monitors map[schema.GroupVersionResource]*monitor
	gone     map[types.UID]bool // owners known to be gone: a UID never comes back
}

const (
	workers = 8
	// remembered bounds the owners known to be gone.
	remembered = 5000
	// Discovery follows a change of the kinds after a moment, in which the
	// server takes it up and more changes may come.
	discoverAfter = 500 * time.Millisecond
	discoverAgain = 30 * time.Second // after a failure
)

// New makes the controller.
func New(cfg Config) (*Controller, error) {
	if cfg.Recorder == nil {
		cfg.Recorder = &record.FakeRecorder{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Controller{
		cfg: cfg, graph: newGraph(), changed: make(chan struct{}, 1),
		monitors: map[schema.GroupVersionResource]*monitor{}, gone: map[types.UID]bool{},
	}
	c.remove = loop.New("garbage-collector", cfg.Log, c.attemptToDelete)
	c.orphan = loop.New("garbage-collector-orphans", cfg.Log, c.attemptToOrphan)
	return c, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	retry := c.follow(ctx, &all)
	for c.kinds == nil { // the server does not answer yet
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(discoverAfter):
		}
		retry = c.follow(ctx, &all)
	}
	c.mu.Lock()
	first := make([]*monitor, 0, len(c.monitors))
	for _, m := range c.monitors {
		first = append(first, m)
	}
	c.mu.Unlock()
	// Nothing is decided on half the truth: a dependent not listed yet would be
	// taken for gone.
	for _, m := range first {
		select {
		case <-m.listed:
		case <-ctx.Done():
			return nil
		}
	}
	c.take(c.graph.settle())
	all.Go(func() { c.refollow(ctx, &all, retry) })
	all.Go(func() { c.orphan.Run(ctx, 2) })
	return c.remove.Run(ctx, workers)
}

// refollow discovers anew when kinds come and go.
func (c *Controller) refollow(ctx context.Context, all *sync.WaitGroup, retry bool) {
	timer := time.NewTimer(discoverAgain)
	defer timer.Stop()
	if !retry {
		timer.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
			timer.Reset(discoverAfter)
		case <-timer.C:
			if c.follow(ctx, all) {
				timer.Reset(discoverAgain)
			}
		}
	}
}

// follow starts and stops monitors by what the server has; it tells whether to
// try again.
func (c *Controller) follow(ctx context.Context, all *sync.WaitGroup) (again bool) {
	known, collected, err := discover(c.cfg.Discovery)
	if err != nil {
		c.cfg.Log.Warn("discover what can be collected", "error", err)
		if known == nil {
			return true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds = known
	for resource, kind := range collected {
		if c.monitors[resource] == nil {
			running, stop := context.WithCancel(ctx)
			m := &monitor{c: c, resource: resource, kind: kind, stop: stop, listed: make(chan struct{})}
			c.monitors[resource] = m
			all.Go(func() { m.run(running) })
		}
	}
	if err != nil { // what did not answer may still be there
		return true
	}
	for resource, m := range c.monitors {
		if _, ok := collected[resource]; !ok {
			m.stop()
			delete(c.monitors, resource)
		}
	}
	return false
}

func (c *Controller) kindsMayHaveChanged(resource schema.GroupVersionResource) {
	switch resource.Group {
	case "apiextensions.k8s.io", "apiregistration.k8s.io":
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
}

func (c *Controller) take(t todo) {
	for _, uid := range t.remove {
		c.remove.Add(uid)
	}
	for _, uid := range t.orphan {
		c.orphan.Add(uid)
	}
}

func (c *Controller) client(n *node) metadata.ResourceInterface {
	if n.namespace == "" {
		return c.cfg.Metadata.Resource(n.resource)
	}
	return c.cfg.Metadata.Resource(n.resource).Namespace(n.namespace)
}

// live asks the server for an object; nil if that one is gone.
func (c *Controller) live(ctx context.Context, n *node) (*metav1.PartialObjectMetadata, error) {
	o, err := c.client(n).Get(ctx, n.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case o.UID != n.uid:
		return nil, nil
	}
	return o, nil
}

func (c *Controller) attemptToDelete(ctx context.Context, uid types.UID) error {
	n := c.graph.get(uid)
	if n == nil || n.deleting && !n.foreground {
		return nil
	}
	o, err := c.live(ctx, n)
	if err != nil {
		return fmt.Errorf("get %s %s: %w", n.kind.Kind, n.name, err)
	}
	if o == nil {
		c.take(c.graph.forget(uid))
		return nil
	}
	dependents := c.graph.of(uid)
	if now := nodeOf(n.resource, n.kind, o); now.foreground {
		return c.finishForeground(ctx, n, o, dependents)
	} else if now.deleting {
		return nil
	}
	owners, err := c.examine(ctx, n, o)
	if err != nil {
		return err
	}
	v := judge(o, owners, dependents)
	if len(v.unhook) > 0 {
		return c.patchOwners(ctx, n, o, without(o.OwnerReferences, v.unhook...))
	}
	if v.unblock {
		if err := c.patchOwners(ctx, n, o, unblocked(o.OwnerReferences)); err != nil {
			return err
		}
		o.ResourceVersion = "" // it has just been changed
	}
	if v.remove == "" {
		return nil
	}
	c.cfg.Log.Debug("delete", "kind", n.kind.Kind, "namespace", n.namespace, "name", n.name, "propagation", v.remove)
	conditions := &metav1.Preconditions{UID: &uid}
	if o.ResourceVersion != "" { // an owner may come in this moment
		conditions.ResourceVersion = &o.ResourceVersion
	}
	err = c.client(n).Delete(ctx, n.name, metav1.DeleteOptions{PropagationPolicy: &v.remove, Preconditions: conditions})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// finishForeground lets an owner go when nothing holds it any more.
func (c *Controller) finishForeground(ctx context.Context, n *node, o *metav1.PartialObjectMetadata, dependents []*node) error {
	holding := held(n.uid, dependents)
	if len(holding) == 0 {
		return c.patchFinalizers(ctx, n, o, metav1.FinalizerDeleteDependents)
	}
	for _, d := range holding {
		if !d.foreground {
			c.remove.Add(d.uid)
		}
	}
	return nil // the last of them brings the owner back
}

// examine finds out what became of each owner.
func (c *Controller) examine(ctx context.Context, n *node, o *metav1.PartialObjectMetadata) ([]owner, error) {
	owners := make([]owner, len(o.OwnerReferences))
	for i, ref := range o.OwnerReferences {
		var err error
		if owners[i], err = c.examineOne(ctx, n, ref); err != nil {
			return nil, fmt.Errorf("get owner %s %s of %s %s: %w", ref.Kind, ref.Name, n.kind.Kind, n.name, err)
		}
	}
	return owners, nil
}

func (c *Controller) examineOne(ctx context.Context, n *node, ref metav1.OwnerReference) (owner, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return unknown, nil
	}
	c.mu.Lock()
	place, ok := c.kinds[schema.GroupKind{Group: gv.Group, Kind: ref.Kind}]
	gone := c.gone[ref.UID]
	c.mu.Unlock()
	switch {
	case !ok: // of a kind not served now: perhaps later
		return unknown, nil
	case place.namespaced && n.namespace == "":
		c.invalid(n, fmt.Sprintf("ownerRef %s refers to a namespaced kind, from a cluster-scoped object", show(ref)))
		return unknown, nil
	case gone:
		return absent, nil
	}
	probe := &node{uid: ref.UID, resource: place.resource, name: ref.Name}
	if place.namespaced {
		probe.namespace = n.namespace
	}
	o, err := c.live(ctx, probe)
	if err != nil {
		return unknown, err
	}
	if o == nil {
		if elsewhere := c.graph.get(ref.UID); elsewhere != nil && elsewhere.namespace != "" && elsewhere.namespace != n.namespace {
			c.invalid(n, fmt.Sprintf("ownerRef %s does not exist in namespace %q", show(ref), n.namespace))
		} else {
			c.remember(ref.UID)
		}
		return absent, nil
	}
	if o.DeletionTimestamp != nil && slices.Contains(o.Finalizers, metav1.FinalizerDeleteDependents) {
		return leaving, nil
	}
	return solid, nil
}

func show(ref metav1.OwnerReference) string {
	return fmt.Sprintf("[%s/%s, name: %s, uid: %s]", ref.APIVersion, ref.Kind, ref.Name, ref.UID)
}

func (c *Controller) invalid(n *node, message string) {
	c.cfg.Recorder.Event(&corev1.ObjectReference{
		APIVersion: n.kind.GroupVersion().String(), Kind: n.kind.Kind, Namespace: n.namespace, Name: n.name, UID: n.uid,
	}, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", message)
}

func (c *Controller) remember(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.gone) >= remembered {
		clear(c.gone)
	}
	c.gone[uid] = true
}

// attemptToOrphan takes an owner off its dependents, then lets the owner go.
func (c *Controller) attemptToOrphan(ctx context.Context, uid types.UID) error {
	n := c.graph.get(uid)
	if n == nil {
		return nil
	}
	o, err := c.live(ctx, n)
	if err != nil {
		return fmt.Errorf("get %s %s: %w", n.kind.Kind, n.name, err)
	}
	if o == nil || !nodeOf(n.resource, n.kind, o).orphaning {
		return nil
	}
	for _, d := range c.graph.of(uid) {
		dependent, err := c.live(ctx, d)
		if err != nil {
			return fmt.Errorf("get %s %s: %w", d.kind.Kind, d.name, err)
		}
		if dependent == nil || !slices.ContainsFunc(dependent.OwnerReferences, is(uid)) {
			continue
		}
		if err := c.patchOwners(ctx, d, dependent, without(dependent.OwnerReferences, uid)); err != nil {
			return err
		}
	}
	return c.patchFinalizers(ctx, n, o, metav1.FinalizerOrphanDependents)
}

func (c *Controller) patchOwners(ctx context.Context, n *node, o *metav1.PartialObjectMetadata, refs []metav1.OwnerReference) error {
	return c.patch(ctx, n, o, map[string]any{"ownerReferences": refs})
}

func (c *Controller) patchFinalizers(ctx context.Context, n *node, o *metav1.PartialObjectMetadata, finalizer string) error {
	left := slices.DeleteFunc(slices.Clone(o.Finalizers), func(f string) bool { return f == finalizer })
	return c.patch(ctx, n, o, map[string]any{"finalizers": left})
}

// patch changes metadata, if the object is still as it was read.
func (c *Controller) patch(ctx context.Context, n *node, o *metav1.PartialObjectMetadata, fields map[string]any) error {
	fields["uid"], fields["resourceVersion"] = o.UID, o.ResourceVersion
	b, err := json.Marshal(map[string]any{"metadata": fields})
	if err != nil {
		return err
	}
	_, err = c.client(n).Patch(ctx, n.name, types.MergePatchType, b, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("patch %s %s: %w", n.kind.Kind, n.name, err)
	}
	return nil
}
