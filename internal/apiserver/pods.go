package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

var podsGVR = corev1.SchemeGroupVersion.WithResource("pods")

// binding answers POST pods/NAME/binding and POST bindings: the scheduler's word. It sets the node and the PodScheduled condition in
// one write.
func (c *call) binding() error {
	w, err := c.writer("CreateOptions")
	if err != nil {
		return err
	}
	gvk := corev1.SchemeGroupVersion.WithKind("Binding")
	body, err := c.decodeBody(func() runtime.Object { return &corev1.Binding{} }, gvk, w.writeOptions)
	if err != nil {
		return err
	}
	b := body.(*corev1.Binding)
	if err := c.settleNamespace(b); err != nil {
		return err
	}
	if c.info.Name == "" {
		c.info.Name = b.Name
	}
	if err := c.nameMatches(b); err != nil {
		return err
	}
	pods := c.srv.registry.now().endpoints[podsGVR]
	if c.sub != nil && c.sub.Validate != nil {
		if errs := c.sub.Validate(b); len(errs) > 0 {
			return apierrors.NewInvalid(gvk.GroupKind(), b.Name, errs)
		}
	}
	attr := w.attributes(admission.Create, b.Name, b, nil)
	attr.Kind, attr.Resource, attr.Subresource = gvk, podsGVR, "binding"
	if err := c.srv.admission.Admit(c.ctx, attr); err != nil {
		return err
	}
	if err := c.srv.admission.Validate(c.ctx, attr); err != nil {
		return err
	}
	err = c.change(pods, b.Namespace, b.Name, w.dryRun, func(old runtime.Object) (runtime.Object, error) {
		return bindPod(old.(*corev1.Pod), b, c.srv.now())
	})
	if err != nil {
		return err
	}
	return c.respondObject(http.StatusCreated, &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, statusGVK)
}

// bindPod is the pure part of a binding.
func bindPod(old *corev1.Pod, b *corev1.Binding, now metav1.Time) (*corev1.Pod, error) {
	conflict := func(format string, args ...any) error {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, b.Name, fmt.Errorf(format, args...))
	}
	if b.UID != "" && b.UID != old.UID {
		return nil, conflict("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, old.UID)
	}
	if b.ResourceVersion != "" && b.ResourceVersion != old.ResourceVersion {
		return nil, conflict("Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", b.ResourceVersion, old.ResourceVersion)
	}
	if k := b.Target.Kind; k != "" && k != "Node" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid target kind %q, want Node", k))
	}
	if b.Target.Name == "" {
		return nil, apierrors.NewBadRequest("target.name: Required value")
	}
	switch {
	case old.DeletionTimestamp != nil:
		return nil, conflict("pod %s is being deleted, cannot be assigned to a host", old.Name)
	case old.Spec.NodeName != "":
		return nil, conflict("pod %v is already assigned to node %q", old.Name, old.Spec.NodeName)
	case len(old.Spec.SchedulingGates) > 0:
		return nil, conflict("pod %v has non-empty .spec.schedulingGates", old.Name)
	}
	// A shallow copy, with what changes made anew: binding is the scheduler's hot path.
	pod := *old
	pod.Spec.NodeName = b.Target.Name
	if len(b.Annotations) > 0 {
		pod.Annotations = mergeStrings(old.Annotations, b.Annotations)
	}
	if len(b.Labels) > 0 {
		pod.Labels = mergeStrings(old.Labels, b.Labels)
	}
	cond := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now}
	if old.Generation > 0 {
		cond.ObservedGeneration = old.Generation
	}
	conds := make([]corev1.PodCondition, 0, len(old.Status.Conditions)+1)
	for _, x := range old.Status.Conditions {
		if x.Type != corev1.PodScheduled {
			conds = append(conds, x)
		}
	}
	pod.Status.Conditions = append(conds, cond)
	return &pod, nil
}

func mergeStrings(a, b map[string]string) map[string]string {
	out := make(map[string]string, len(a)+len(b))
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		out[k] = v
	}
	return out
}

// change writes a server-made change of one object, past admission and strategy, retrying against a moving object.
func (c *call) change(ep *endpoint, namespace, name string, dryRun bool, do func(old runtime.Object) (runtime.Object, error)) error {
	gr := ep.gr
	for try := 0; ; try++ {
		old, err := ep.open().Get(c.ctx, ep.key(namespace, name), 0)
		if err != nil {
			return translate(err, gr, name)
		}
		obj, err := do(old.Object)
		if err != nil || dryRun || obj == nil {
			return err
		}
		b, err := ep.encodeStored(obj)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		_, err = ep.open().Update(c.ctx, old.Key, old.Revision, store.Value{Object: obj, Bytes: b})
		if errors.Is(err, store.ErrConflict) && try < attempts {
			continue
		}
		return translate(err, gr, name)
	}
}

// eviction answers POST pods/NAME/eviction: a delete that asks the disruption budgets first.
func (c *call) eviction() error {
	w, err := c.writer("CreateOptions")
	if err != nil {
		return err
	}
	body, err := c.decodeEviction(w.writeOptions)
	if err != nil {
		return err
	}
	ev := body.(*policyv1.Eviction)
	if ev.Name != "" && ev.Name != c.info.Name {
		return apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	attr := w.attributes(admission.Create, c.info.Name, ev, nil)
	attr.Kind = policyv1.SchemeGroupVersion.WithKind("Eviction")
	if err := c.srv.admission.Admit(c.ctx, attr); err != nil {
		return err
	}
	if err := c.srv.admission.Validate(c.ctx, attr); err != nil {
		return err
	}
	o := &metav1.DeleteOptions{}
	if ev.DeleteOptions != nil {
		o = ev.DeleteOptions.DeepCopy()
	}
	if w.dryRun {
		o.DryRun = []string{metav1.DryRunAll}
	}
	dryRun := len(o.DryRun) > 0
	pod, err := c.pod()
	if err != nil {
		return err
	}
	if !exempt(pod) {
		budget, err := c.budgetOf(pod)
		if err != nil {
			return err
		}
		if budget != nil {
			if err := c.takeBudget(budget, pod, dryRun); err != nil {
				return err
			}
		}
		if o.Preconditions == nil {
			o.Preconditions = &metav1.Preconditions{UID: &pod.UID}
		}
		err = c.change(c.ep, pod.Namespace, pod.Name, dryRun, func(old runtime.Object) (runtime.Object, error) {
			return targetForEviction(old.(*corev1.Pod), c.srv.now()), nil
		})
		if err != nil {
			return err
		}
	}
	sub := c.sub
	c.sub = nil
	_, _, err = c.remove(c.ctx, pod.Namespace, pod.Name, o)
	c.sub = sub
	if err != nil {
		return err
	}
	return c.respondObject(http.StatusCreated, &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, statusGVK)
}

// decodeEviction takes policy/v1 and, with the same shape, policy/v1beta1.
func (c *call) decodeEviction(o writeOptions) (runtime.Object, error) {
	data, err := c.body()
	if err != nil {
		return nil, err
	}
	media, ok := wire.ContentMedia(c.r.Header.Get("Content-Type"))
	if !ok {
		return nil, unsupportedMedia(wire.TypeJSON, wire.TypeYAML, wire.TypeProtobuf)
	}
	fresh := func() runtime.Object { return &policyv1.Eviction{} }
	obj, err := c.decode(data, media, fresh, policyv1.SchemeGroupVersion.WithKind("Eviction"), o)
	if err != nil {
		if old, e := c.decode(data, media, fresh, schema.GroupVersionKind{Group: "policy", Version: "v1beta1", Kind: "Eviction"}, o); e == nil {
			return old, nil
		}
	}
	return obj, err
}

// exempt pods are evicted whatever the budgets say: they serve nothing (any more).
func exempt(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodPending || p.DeletionTimestamp != nil
}

func (c *call) budgetOf(pod *corev1.Pod) (*policyv1.PodDisruptionBudget, error) {
	ep := c.srv.registry.now().endpoints[policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets")]
	if ep == nil {
		return nil, nil
	}
	page, err := ep.open().List(c.ctx, store.ListOptions{Prefix: pod.Namespace + "/"})
	if err != nil {
		return nil, err
	}
	var found []*policyv1.PodDisruptionBudget
	for _, e := range page.Entries {
		b := e.Object.(*policyv1.PodDisruptionBudget)
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && sel.Matches(labels.Set(pod.Labels)) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, apierrors.NewInternalError(errors.New("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."))
}

// takeBudget books one disruption, or refuses with 429 as clients of the eviction API expect.
func (c *call) takeBudget(b *policyv1.PodDisruptionBudget, pod *corev1.Pod, dryRun bool) error {
	ep := c.srv.registry.now().endpoints[policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets")]
	return c.change(ep, b.Namespace, b.Name, dryRun, func(old runtime.Object) (runtime.Object, error) {
		pdb := old.(*policyv1.PodDisruptionBudget)
		if !ready(pod) {
			always := pdb.Spec.UnhealthyPodEvictionPolicy != nil && *pdb.Spec.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow
			if always || pdb.Status.CurrentHealthy >= pdb.Status.DesiredHealthy && pdb.Status.DesiredHealthy > 0 {
				return nil, nil
			}
		}
		if pdb.Status.ObservedGeneration < pdb.Generation {
			return nil, tooManyDisruptions(pdb.Name, fmt.Sprintf("The disruption budget %s is still being processed by the server.", pdb.Name), 10)
		}
		if pdb.Status.DisruptionsAllowed < 0 {
			return nil, apierrors.NewForbidden(schema.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}, pdb.Name, errors.New("pdb disruptions allowed is negative"))
		}
		if len(pdb.Status.DisruptedPods) > 2000 {
			return nil, apierrors.NewForbidden(schema.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}, pdb.Name, errors.New("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
		}
		if pdb.Status.DisruptionsAllowed == 0 {
			return nil, tooManyDisruptions(pdb.Name, fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", pdb.Name, pdb.Status.DesiredHealthy, pdb.Status.CurrentHealthy), 0)
		}
		next := pdb.DeepCopy()
		next.Status.DisruptionsAllowed--
		if next.Status.DisruptedPods == nil {
			next.Status.DisruptedPods = map[string]metav1.Time{}
		}
		next.Status.DisruptedPods[pod.Name] = metav1.NewTime(c.srv.clock().Truncate(time.Second))
		return next, nil
	})
}

func tooManyDisruptions(name, message string, retry int) error {
	e := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retry)
	e.ErrStatus.Details.Causes = append(e.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: message})
	return e
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// targetForEviction notes on the pod why it goes.
func targetForEviction(old *corev1.Pod, now metav1.Time) runtime.Object {
	for _, c := range old.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	pod := *old
	pod.Status.Conditions = append(append([]corev1.PodCondition(nil), old.Status.Conditions...), corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: now,
		ObservedGeneration: old.Generation,
	})
	return &pod
}
