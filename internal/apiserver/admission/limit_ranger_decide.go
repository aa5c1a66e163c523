package admission

import (
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

const limitAnnotation = "kubernetes.io/limit-ranger"

// fillPod sets what a range's defaults give and the pod's containers leave open, and says so in an annotation.
func fillPod(pod *corev1.Pod, lr *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for i := range lr.Spec.Limits {
		if item := &lr.Spec.Limits[i]; item.Type == corev1.LimitTypeContainer {
			for k, v := range item.DefaultRequest {
				requests[k] = v.DeepCopy()
			}
			for k, v := range item.Default {
				limits[k] = v.DeepCopy()
			}
		}
	}
	var said []string
	fill := func(kind string, c *corev1.Container) {
		for _, f := range []struct {
			what string
			have *corev1.ResourceList
			give corev1.ResourceList
		}{{"request", &c.Resources.Requests, requests}, {"limit", &c.Resources.Limits, limits}} {
			if set := merge(f.have, f.give); len(set) > 0 {
				said = append(said, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), f.what, kind, c.Name))
			}
		}
	}
	for i := range pod.Spec.Containers {
		fill("container", &pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		fill("init container", &pod.Spec.InitContainers[i])
	}
	if len(said) == 0 {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[limitAnnotation] = "LimitRanger plugin set: " + strings.Join(said, "; ")
}

func merge(have *corev1.ResourceList, give corev1.ResourceList) (set []string) {
	for k, v := range give {
		if _, ok := (*have)[k]; ok {
			continue
		}
		if *have == nil {
			*have = corev1.ResourceList{}
		}
		(*have)[k] = v.DeepCopy()
		set = append(set, string(k))
	}
	sort.Strings(set)
	return set
}

func checkPod(pod *corev1.Pod, lr *corev1.LimitRange) []error {
	var errs []error
	for i := range lr.Spec.Limits {
		item := &lr.Spec.Limits[i]
		switch item.Type {
		case corev1.LimitTypeContainer:
			for j := range pod.Spec.Containers {
				errs = append(errs, checkItem(item, pod.Spec.Containers[j].Resources.Requests, pod.Spec.Containers[j].Resources.Limits)...)
			}
			for j := range pod.Spec.InitContainers {
				errs = append(errs, checkItem(item, pod.Spec.InitContainers[j].Resources.Requests, pod.Spec.InitContainers[j].Resources.Limits)...)
			}
		case corev1.LimitTypePod:
			errs = append(errs, checkItem(item, resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}), resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}))...)
		}
	}
	return errs
}

func checkClaim(claim *corev1.PersistentVolumeClaim, lr *corev1.LimitRange) []error {
	var errs []error
	for i := range lr.Spec.Limits {
		item := &lr.Spec.Limits[i]
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		for _, k := range names(item.Min) {
			errs = note(errs, atLeast(item.Type, k, item.Min[k], claim.Spec.Resources.Requests, nil))
		}
		for _, k := range names(item.Max) {
			bound := item.Max[k]
			have, ok := claim.Spec.Resources.Requests[k]
			switch {
			case !ok:
				errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", k, item.Type, bound.String()))
			case have.Cmp(bound) > 0:
				errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", k, item.Type, bound.String(), have.String()))
			}
		}
	}
	return errs
}

func checkItem(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	for _, k := range names(item.Min) {
		errs = note(errs, atLeast(item.Type, k, item.Min[k], requests, limits))
	}
	for _, k := range names(item.Max) {
		errs = note(errs, atMost(item.Type, k, item.Max[k], requests, limits))
	}
	for _, k := range names(item.MaxLimitRequestRatio) {
		errs = note(errs, atRatio(item.Type, k, item.MaxLimitRequestRatio[k], requests, limits))
	}
	return errs
}

func atLeast(t corev1.LimitType, k corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	req, hasReq := requests[k]
	lim, hasLim := limits[k]
	switch {
	case !hasReq:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", k, t, bound.String())
	case req.Cmp(bound) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", k, t, bound.String(), req.String())
	case hasLim && lim.Cmp(bound) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", k, t, bound.String(), lim.String())
	}
	return nil
}

func atMost(t corev1.LimitType, k corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	req, hasReq := requests[k]
	lim, hasLim := limits[k]
	switch {
	case !hasLim:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", k, t, bound.String())
	case lim.Cmp(bound) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", k, t, bound.String(), lim.String())
	case hasReq && req.Cmp(bound) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", k, t, bound.String(), req.String())
	}
	return nil
}

func atRatio(t corev1.LimitType, k corev1.ResourceName, bound resource.Quantity, requests, limits corev1.ResourceList) error {
	req, hasReq := requests[k]
	lim, hasLim := limits[k]
	if !hasReq || req.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", k, t, bound.String())
	}
	if !hasLim || lim.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", k, t, bound.String())
	}
	if ratio := lim.AsApproximateFloat64() / req.AsApproximateFloat64(); ratio > bound.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", k, t, bound.String(), ratio)
	}
	return nil
}

func note(errs []error, err error) []error {
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

func names(l corev1.ResourceList) []corev1.ResourceName {
	out := make([]corev1.ResourceName, 0, len(l))
	for k := range l {
		out = append(out, k)
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out
}
