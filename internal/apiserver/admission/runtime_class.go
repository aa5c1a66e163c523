package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	nodelisters "k8s.io/client-go/listers/node/v1"
)

// RuntimeClass gives a pod its runtime class's overhead, node selector and tolerations.
type RuntimeClass struct {
	Operations
	classes nodelisters.RuntimeClassLister
	live    kubernetes.Interface
}

// NewRuntimeClass makes the plugin.
func NewRuntimeClass(f informers.SharedInformerFactory, live kubernetes.Interface) *RuntimeClass {
	return &RuntimeClass{Operations{Create}, f.Node().V1().RuntimeClasses().Lister(), live}
}

// Name implements Plugin.
func (*RuntimeClass) Name() string { return "RuntimeClass" }

// Admit implements Mutator.
func (c *RuntimeClass) Admit(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || !r.Is("", "pods", "") {
		return nil
	}
	class, err := c.find(ctx, r, pod)
	if err != nil || class == nil {
		return err
	}
	if o := class.Overhead; o != nil {
		if pod.Spec.Overhead != nil && !equality.Semantic.DeepEqual(pod.Spec.Overhead, o.PodFixed) {
			return forbidden(r, fmt.Errorf("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
		}
		pod.Spec.Overhead = o.PodFixed.DeepCopy()
	}
	s := class.Scheduling
	if s == nil {
		return nil
	}
	for k, v := range s.NodeSelector {
		if have, ok := pod.Spec.NodeSelector[k]; ok && have != v {
			return forbidden(r, fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", k, v, k, have))
		}
		if pod.Spec.NodeSelector == nil {
			pod.Spec.NodeSelector = map[string]string{}
		}
		pod.Spec.NodeSelector[k] = v
	}
next:
	for _, t := range s.Tolerations {
		for _, have := range pod.Spec.Tolerations {
			if equality.Semantic.DeepEqual(have, t) {
				continue next
			}
		}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, *t.DeepCopy())
	}
	return nil
}

// Validate implements Validator: overhead comes from a class or not at all.
func (c *RuntimeClass) Validate(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || !r.Is("", "pods", "") || len(pod.Spec.Overhead) == 0 {
		return nil
	}
	class, err := c.find(ctx, r, pod)
	if err != nil {
		return err
	}
	if class == nil || class.Overhead == nil {
		return forbidden(r, fmt.Errorf("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
	}
	return nil
}

func (c *RuntimeClass) find(ctx context.Context, r *Request, pod *corev1.Pod) (*nodev1.RuntimeClass, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil {
		return nil, nil
	}
	class, err := c.classes.Get(*name)
	if apierrors.IsNotFound(err) {
		class, err = c.live.NodeV1().RuntimeClasses().Get(ctx, *name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil, forbidden(r, fmt.Errorf("pod rejected: RuntimeClass %q not found", *name))
	}
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("get runtime class %s: %w", *name, err))
	}
	return class, nil
}
