package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1"
)

// Priority turns a pod's priority class into a number, and keeps the default class single.
type Priority struct {
	Operations
	classes schedulinglisters.PriorityClassLister
	live    kubernetes.Interface
}

// NewPriority makes the plugin.
func NewPriority(f informers.SharedInformerFactory, live kubernetes.Interface) *Priority {
	return &Priority{Operations{Create, Update}, f.Scheduling().V1().PriorityClasses().Lister(), live}
}

// Name implements Plugin.
func (*Priority) Name() string { return "Priority" }

// Admit implements Mutator.
func (p *Priority) Admit(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || !r.Is("", "pods", "") {
		return nil
	}
	if r.Operation == Update {
		// What was computed at creation stays, also for clients that do not know the field.
		if old, ok := r.OldObject.(*corev1.Pod); ok && pod.Spec.Priority == nil && old.Spec.Priority != nil {
			v := *old.Spec.Priority
			pod.Spec.Priority = &v
		}
		return nil
	}
	value, policy := int32(0), corev1.PreemptLowerPriority
	class, err := p.classOf(ctx, pod.Spec.PriorityClassName)
	if apierrors.IsNotFound(err) {
		return forbidden(r, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
	}
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("get priority class %s: %w", pod.Spec.PriorityClassName, err))
	}
	if class != nil {
		pod.Spec.PriorityClassName, value = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if have := pod.Spec.Priority; have != nil && *have != value {
		return forbidden(r, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *have, value))
	}
	if have := pod.Spec.PreemptionPolicy; have != nil && *have != policy {
		return forbidden(r, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *have, policy))
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// classOf is the named class, or without a name the default one, nil if there is none.
func (p *Priority) classOf(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
	if name != "" {
		class, err := p.classes.Get(name)
		if apierrors.IsNotFound(err) {
			class, err = p.live.SchedulingV1().PriorityClasses().Get(ctx, name, metav1.GetOptions{})
		}
		return class, err
	}
	all, err := p.classes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var best *schedulingv1.PriorityClass // two servers may each have let one in at the same time: the lower one counts
	for _, c := range all {
		if c.GlobalDefault && (best == nil || c.Value < best.Value) {
			best = c
		}
	}
	return best, nil
}

// Validate implements Validator.
func (p *Priority) Validate(_ context.Context, r *Request) error {
	class, ok := r.Object.(*schedulingv1.PriorityClass)
	if !ok || !r.Is(schedulingv1.GroupName, "priorityclasses", "") || !class.GlobalDefault {
		return nil
	}
	all, err := p.classes.List(labels.Everything())
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("list priority classes: %w", err))
	}
	for _, c := range all {
		if c.GlobalDefault && c.Name != class.Name {
			return forbidden(r, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", c.Name))
		}
	}
	return nil
}

// SystemPriorityClasses are those that every cluster has.
func SystemPriorityClasses() []*schedulingv1.PriorityClass {
	policy := corev1.PreemptLowerPriority
	class := func(name string, value int32, text string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: text, PreemptionPolicy: &policy}
	}
	return []*schedulingv1.PriorityClass{
		class("system-node-critical", 2000001000, "Used for system critical pods that must not be moved from their current node."),
		class("system-cluster-critical", 2000000000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

// EnsureSystemPriorityClasses creates those of SystemPriorityClasses that are missing.
func EnsureSystemPriorityClasses(ctx context.Context, client kubernetes.Interface) error {
	for _, c := range SystemPriorityClasses() {
		api := client.SchedulingV1().PriorityClasses()
		_, err := api.Get(ctx, c.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = api.Create(ctx, c, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create priority class %s: %w", c.Name, err)
		}
	}
	return nil
}
