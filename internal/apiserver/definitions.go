package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api"
	"nau/internal/apiserver/custom"
	"nau/internal/store"
)

var definitionsGR = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}

// definitions serves custom resources: it follows the CustomResourceDefinitions in the store, writes their conditions, and has
// the registry take in and let go what they declare.
type definitions struct {
	s      *Server
	kind   *kind
	served map[string]served // by definition's name; owned by the one goroutine of run
}

type served struct {
	generation int64
	resource   *api.Resource
}

// follow begins to serve custom resources, until the server is drained or the store closed.
func (s *Server) follow() {
	k := s.registry.now().kindOf(definitionsGR)
	if k == nil || k.open == nil || s.Store == nil {
		return
	}
	d := &definitions{s: s, kind: k, served: map[string]served{}}
	go d.run(s.life)
}

func (d *definitions) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.watch(ctx)
		if errors.Is(err, store.ErrClosed) {
			return
		}
		if err != nil && ctx.Err() == nil {
			d.s.log.Warn("follow custom resource definitions", "cause", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

func (d *definitions) watch(ctx context.Context) error {
	w, err := d.kind.open().Watch(ctx, store.WatchOptions{Initial: true, Fresh: true})
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for i := range events {
			ev := &events[i]
			if ev.Entry == nil {
				continue
			}
			crd := ev.Entry.Object.(*apiextv1.CustomResourceDefinition)
			if ev.Type == store.Deleted {
				d.forget(crd.Name)
				continue
			}
			if err := d.take(ctx, crd); err != nil && ctx.Err() == nil {
				d.s.log.Warn("serve custom resource", "definition", crd.Name, "cause", err)
			}
		}
	}
}

const cleanup = apiextv1.CustomResourceCleanupFinalizer

// take brings one definition into effect.
func (d *definitions) take(ctx context.Context, crd *apiextv1.CustomResourceDefinition) error {
	if crd.DeletionTimestamp != nil {
		if slices.Contains(crd.Finalizers, cleanup) {
			go d.empty(ctx, crd)
		}
		return nil
	}
	next := crd.DeepCopy()
	d.accept(next)
	if !equalConditions(crd, next) || !slices.Contains(crd.Finalizers, cleanup) {
		if !slices.Contains(next.Finalizers, cleanup) {
			next.Finalizers = append(next.Finalizers, cleanup)
		}
		b, err := d.kind.encodeStored(next)
		if err != nil {
			return err
		}
		rev, err := d.kind.open().Get(ctx, crd.Name, 0)
		if err != nil {
			return nil
		}
		if rev.Object != runtime.Object(crd) {
			return nil // a newer state is on its way here
		}
		_, err = d.kind.open().Update(ctx, crd.Name, rev.Revision, store.Value{Object: next, Bytes: b})
		if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil // its event comes here and is served then
	}
	if !condition(crd, apiextv1.Established) {
		return nil
	}
	if have, ok := d.served[crd.Name]; ok && have.generation == crd.Generation {
		return nil
	}
	k, err := custom.New(crd, d.s.poster())
	if err != nil {
		return err
	}
	if err := d.s.registry.swapCustom(d.served[crd.Name].resource, k); err != nil {
		return err
	}
	d.served[crd.Name] = served{crd.Generation, k.Resource}
	return nil
}

// poster calls conversion webhooks.
func (s *Server) poster() custom.Poster {
	if s.Webhooks == nil {
		return nil
	}
	return s.Webhooks
}

// accept decides on names and establishment.
func (d *definitions) accept(crd *apiextv1.CustomResourceDefinition) {
	now := d.s.now()
	taken := d.conflict(crd)
	if taken != "" {
		setCondition(crd, apiextv1.NamesAccepted, apiextv1.ConditionFalse, "NameConflict", taken, now)
		if !condition(crd, apiextv1.Established) {
			setCondition(crd, apiextv1.Established, apiextv1.ConditionFalse, "NotAccepted", "not all names are accepted", now)
		}
		return
	}
	setCondition(crd, apiextv1.NamesAccepted, apiextv1.ConditionTrue, "NoConflicts", "no conflicts found", now)
	if !condition(crd, apiextv1.Established) {
		setCondition(crd, apiextv1.Established, apiextv1.ConditionTrue, "InitialNamesAccepted", "the initial names have been accepted", now)
	}
	crd.Status.AcceptedNames = crd.Spec.Names
}

// conflict names what another resource of the group has already.
func (d *definitions) conflict(crd *apiextv1.CustomResourceDefinition) string {
	mine := d.served[crd.Name].resource
	n := crd.Spec.Names
	for _, r := range d.s.registry.now().table {
		if r.Group != crd.Spec.Group || r == mine {
			continue
		}
		words := append([]string{r.Plural, r.Singular}, r.ShortNames...)
		for _, name := range append([]string{n.Plural, n.Singular}, n.ShortNames...) {
			if name != "" && slices.Contains(words, name) {
				return fmt.Sprintf("%q is already in use", name)
			}
		}
		if r.Kind == n.Kind || r.Kind == n.ListKind {
			return fmt.Sprintf("%q is already in use", n.Kind)
		}
	}
	return ""
}

func condition(crd *apiextv1.CustomResourceDefinition, t apiextv1.CustomResourceDefinitionConditionType) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == t {
			return c.Status == apiextv1.ConditionTrue
		}
	}
	return false
}

func setCondition(crd *apiextv1.CustomResourceDefinition, t apiextv1.CustomResourceDefinitionConditionType, s apiextv1.ConditionStatus, reason, message string, now metav1.Time) {
	c := apiextv1.CustomResourceDefinitionCondition{Type: t, Status: s, Reason: reason, Message: message, LastTransitionTime: now}
	for i := range crd.Status.Conditions {
		have := &crd.Status.Conditions[i]
		if have.Type != t {
			continue
		}
		if have.Status == s {
			c.LastTransitionTime = have.LastTransitionTime
		}
		c.ObservedGeneration = have.ObservedGeneration
		*have = c
		return
	}
	crd.Status.Conditions = append(crd.Status.Conditions, c)
}

func equalConditions(a, b *apiextv1.CustomResourceDefinition) bool {
	return slices.Equal(a.Status.Conditions, b.Status.Conditions) && fmt.Sprint(a.Status.AcceptedNames) == fmt.Sprint(b.Status.AcceptedNames)
}

func (d *definitions) forget(name string) {
	if have, ok := d.served[name]; ok {
		delete(d.served, name)
		if err := d.s.registry.swapCustom(have.resource, nil); err != nil {
			d.s.log.Warn("withdraw custom resource", "definition", name, "cause", err)
		}
	}
}

// empty deletes all objects of a definition that is being deleted, waits until they are gone, and lets the definition go.
func (d *definitions) empty(ctx context.Context, crd *apiextv1.CustomResourceDefinition) {
	v := d.s.registry.now()
	k := v.kindOf(schema.GroupResource{Group: crd.Spec.Group, Resource: crd.Spec.Names.Plural})
	if k != nil {
		if err := d.clear(ctx, k); err != nil {
			d.s.log.Warn("delete custom objects", "definition", crd.Name, "cause", err)
			return
		}
	}
	for range attempts {
		e, err := d.kind.open().Get(ctx, crd.Name, 0)
		if err != nil {
			return
		}
		now := e.Object.(*apiextv1.CustomResourceDefinition)
		if now.UID != crd.UID || !slices.Contains(now.Finalizers, cleanup) {
			return
		}
		next := now.DeepCopy()
		next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == cleanup })
		if len(next.Finalizers) == 0 {
			_, err = d.kind.open().Delete(ctx, crd.Name, e.Revision)
		} else {
			var b []byte
			if b, err = d.kind.encodeStored(next); err == nil {
				_, err = d.kind.open().Update(ctx, crd.Name, e.Revision, store.Value{Object: next, Bytes: b})
			}
		}
		if !errors.Is(err, store.ErrConflict) {
			return
		}
	}
}

// clear deletes every object of a kind and returns when none is left; objects with finalizers are waited for.
func (d *definitions) clear(ctx context.Context, k *kind) error {
	w, err := k.open().Watch(ctx, store.WatchOptions{Initial: true, Fresh: true, Bookmarks: true})
	if err != nil {
		return err
	}
	defer w.Close()
	left, told := map[string]bool{}, false
	for !told || len(left) > 0 {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for i := range events {
			ev := &events[i]
			switch {
			case ev.InitialEnd:
				told = true
			case ev.Entry == nil:
			case ev.Type == store.Deleted:
				delete(left, ev.Entry.Key)
			default:
				left[ev.Entry.Key] = true
				if err := d.delete(ctx, k, ev.Entry); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (d *definitions) delete(ctx context.Context, k *kind, e *store.Entry) error {
	plan, err := decideDeletion(d.s.now().Time, &k.res.Strategy, e.Object, &metav1.DeleteOptions{})
	if err != nil {
		return err
	}
	switch {
	case plan.remove:
		_, err = k.open().Delete(ctx, e.Key, e.Revision)
	case plan.next != nil:
		var b []byte
		if b, err = k.encodeStored(plan.next); err == nil {
			_, err = k.open().Update(ctx, e.Key, e.Revision, store.Value{Object: plan.next, Bytes: b})
		}
	}
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil // its next event comes here
	}
	return err
}

// settleCustom prunes an object of a custom kind and judges what was pruned.
func (c *call) settleCustom(obj runtime.Object, o writeOptions) error {
	found, err := c.pruneCustom(obj, o)
	if err != nil {
		return err
	}
	return c.judge(found, c.ep.gvk, c.ep.gvk.Kind, o)
}

// dropEmptyMetadata takes away what ObjectMeta leaves out when it is empty.
func dropEmptyMetadata(u *unstructured.Unstructured) {
	metadata, _ := u.Object["metadata"].(map[string]any)
	for _, key := range []string{"annotations", "labels", "finalizers", "ownerReferences"} {
		switch v := metadata[key].(type) {
		case map[string]any:
			if len(v) == 0 {
				delete(metadata, key)
			}
		case []any:
			if len(v) == 0 {
				delete(metadata, key)
			}
		}
	}
}

// pruneCustom takes away the fields that the schema does not know, and names them where somebody wants to hear of them.
func (c *call) pruneCustom(obj runtime.Object, o writeOptions) ([]error, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || c.ep.custom == nil {
		return nil, nil
	}
	dropEmptyMetadata(u)
	unknown, err := c.ep.custom.Prune(u)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if o.validation == metav1.FieldValidationIgnore || len(unknown) == 0 {
		return nil, nil
	}
	found := make([]error, len(unknown))
	for i, p := range unknown {
		found[i] = fmt.Errorf("unknown field %q", strings.TrimPrefix(p, "."))
	}
	return found, nil
}
