package admission

import (
	"context"
	"fmt"
	"sort"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// LimitRanger fills in the requests and limits that a namespace's LimitRanges give, and holds pods and claims to their bounds.
type LimitRanger struct {
	Operations
	ranges corelisters.LimitRangeLister
}

// NewLimitRanger makes the plugin.
func NewLimitRanger(f informers.SharedInformerFactory) *LimitRanger {
	return &LimitRanger{Operations{Create, Update}, f.Core().V1().LimitRanges().Lister()}
}

// Name implements Plugin.
func (*LimitRanger) Name() string { return "LimitRanger" }

// Admit implements Mutator.
func (l *LimitRanger) Admit(_ context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || r.Operation != Create || r.Subresource != "" {
		return nil
	}
	ranges, err := l.in(r.Namespace)
	if err != nil {
		return err
	}
	for _, lr := range ranges {
		fillPod(pod, lr)
	}
	return nil
}

// Validate implements Validator. A pod's resources cannot change but by resize.
func (l *LimitRanger) Validate(_ context.Context, r *Request) error {
	var check func(*corev1.LimitRange) []error
	switch o := r.Object.(type) {
	case *corev1.Pod:
		if !(r.Subresource == "" && r.Operation == Create) && !(r.Subresource == "resize" && r.Operation == Update) {
			return nil
		}
		check = func(lr *corev1.LimitRange) []error { return checkPod(o, lr) }
	case *corev1.PersistentVolumeClaim:
		if r.Subresource != "" {
			return nil
		}
		check = func(lr *corev1.LimitRange) []error { return checkClaim(o, lr) }
	default:
		return nil
	}
	ranges, err := l.in(r.Namespace)
	if err != nil {
		return err
	}
	for _, lr := range ranges {
		if errs := check(lr); len(errs) > 0 {
			return forbidden(r, utilerrors.NewAggregate(errs))
		}
	}
	return nil
}

func (l *LimitRanger) in(namespace string) ([]*corev1.LimitRange, error) {
	all, err := l.ranges.LimitRanges(namespace).List(labels.Everything())
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("list limit ranges in %s: %w", namespace, err))
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}
