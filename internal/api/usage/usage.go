// Package usage counts what objects take of a namespace's resource quotas: which quotas an object falls under, and how much
// of each named resource it uses (API docs, "Resource Quotas").
//
// It is pure. Admission, which charges a quota for one object, and the controller, which adds up all of them, both count with
// it, so that they cannot disagree.
package usage

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	resourcehelper "k8s.io/component-helpers/resource"
)

var (
	pods     = schema.GroupResource{Resource: "pods"}
	services = schema.GroupResource{Resource: "services"}
	claims   = schema.GroupResource{Resource: "persistentvolumeclaims"}
)

const (
	countPrefix  = "count/"
	requests     = "requests."
	limits       = "limits."
	ofClass      = ".storageclass.storage.k8s.io/"
	ofAttributes = ".volumeattributesclass.storage.k8s.io/"
	ofDevices    = ".deviceclass.resource.k8s.io/"
)

// plain are the names that stand for a count of the resource called the same.
var plain = []string{"pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims"}

// By tells which objects use the resource that a quota names; false for names that nothing here counts.
func By(name corev1.ResourceName) (schema.GroupResource, bool) {
	n := string(name)
	switch {
	case strings.HasPrefix(n, countPrefix):
		return schema.ParseGroupResource(n[len(countPrefix):]), len(n) > len(countPrefix)
	case slices.Contains(plain, n):
		return schema.GroupResource{Resource: n}, true
	case name == corev1.ResourceServicesNodePorts || name == corev1.ResourceServicesLoadBalancers:
		return services, true
	case name == corev1.ResourceRequestsStorage || strings.Contains(n, ofClass) || strings.Contains(n, ofAttributes):
		return claims, true
	case strings.Contains(n, ofDevices):
		return schema.GroupResource{}, false
	}
	switch base := strings.TrimPrefix(n, requests); {
	case isCompute(base), strings.HasPrefix(base, corev1.ResourceHugePagesPrefix), base != n && strings.Contains(base, "/"):
		return pods, true
	}
	return pods, strings.HasPrefix(n, limits) && isCompute(n[len(limits):])
}

func isCompute(n string) bool { return n == "cpu" || n == "memory" || n == "ephemeral-storage" }

// Changes tells whether an update of the resource, or of one of its subresources, can change what its objects use.
func Changes(gr schema.GroupResource, subresource string) bool {
	return gr == pods && subresource == "resize" || (gr == services || gr == claims) && subresource == ""
}

// Of is what an object uses, by all the names that quotas may have for it.
func Of(gr schema.GroupResource, obj runtime.Object, now time.Time) corev1.ResourceList {
	u := corev1.ResourceList{corev1.ResourceName(countPrefix + gr.String()): one()}
	switch o := obj.(type) {
	case *corev1.Pod:
		if !ended(o, now) {
			ofPod(u, o)
		}
	case *corev1.Service:
		u["services"] = one()
		ofService(u, o)
	case *corev1.PersistentVolumeClaim:
		ofClaim(u, o)
	default:
		if gr.Group == "" && slices.Contains(plain, gr.Resource) {
			u[corev1.ResourceName(gr.Resource)] = one()
		}
	}
	return u
}

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

// ended tells whether a pod has given its resources back.
func ended(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return true
	}
	t, grace := p.DeletionTimestamp, p.DeletionGracePeriodSeconds
	return t != nil && grace != nil && now.After(t.Add(time.Duration(*grace)*time.Second))
}

func ofPod(u corev1.ResourceList, p *corev1.Pod) {
	u[corev1.ResourcePods] = one()
	for name, q := range resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{UseStatusResources: true}) {
		n := string(name)
		if isCompute(n) || strings.HasPrefix(n, corev1.ResourceHugePagesPrefix) {
			u[name] = q
		} else if !strings.Contains(n, "/") {
			continue
		}
		u[corev1.ResourceName(requests+n)] = q
	}
	for name, q := range resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{UseStatusResources: true}) {
		if isCompute(string(name)) {
			u[corev1.ResourceName(limits+string(name))] = q
		}
	}
}

func ofService(u corev1.ResourceList, s *corev1.Service) {
	ports := 0
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		u[corev1.ResourceServicesLoadBalancers] = one()
		if a := s.Spec.AllocateLoadBalancerNodePorts; a == nil || *a {
			ports = len(s.Spec.Ports)
			break
		}
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				ports++
			}
		}
	case corev1.ServiceTypeNodePort:
		ports = len(s.Spec.Ports)
	}
	if ports > 0 {
		u[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(int64(ports), resource.DecimalSI)
	}
}

func ofClaim(u corev1.ResourceList, c *corev1.PersistentVolumeClaim) {
	u[corev1.ResourcePersistentVolumeClaims] = one()
	size, sized := c.Spec.Resources.Requests[corev1.ResourceStorage]
	// What has been granted counts until a smaller claim has taken effect.
	if granted, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && granted.Cmp(size) > 0 {
		size, sized = granted, true
	}
	class := c.Annotations[corev1.BetaStorageClassAnnotation]
	if class == "" && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	var attributes string
	if c.Spec.VolumeAttributesClassName != nil {
		attributes = *c.Spec.VolumeAttributesClassName
	}
	prefixes := []string{""}
	if class != "" {
		prefixes = append(prefixes, class+ofClass)
	}
	if attributes != "" {
		prefixes = append(prefixes, attributes+ofAttributes)
	}
	for _, p := range prefixes {
		u[corev1.ResourceName(p+"persistentvolumeclaims")] = one()
		if sized {
			u[corev1.ResourceName(p+"requests.storage")] = size
		}
	}
}

// Unspecified lists what a quota on compute resources wants every container of a pod to name and these do not: "limits.cpu for: c1,c2".
func Unspecified(p *corev1.Pod, hard corev1.ResourceList) []string {
	var out []string
	for _, name := range Names(hard) {
		n := string(name)
		of, base := "requests", strings.TrimPrefix(n, requests)
		if strings.HasPrefix(n, limits) {
			of, base = "limits", n[len(limits):]
		}
		if base != "cpu" && base != "memory" {
			continue
		}
		if r := p.Spec.Resources; r != nil {
			list := r.Requests
			if of == "limits" {
				list = r.Limits
			}
			if q, ok := list[corev1.ResourceName(base)]; ok && !q.IsZero() {
				continue // the pod as a whole names it
			}
		}
		var missing []string
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				have := list[i].Resources.Requests
				if of == "limits" {
					have = list[i].Resources.Limits
				}
				if q, ok := have[corev1.ResourceName(base)]; !ok || q.IsZero() {
					missing = append(missing, list[i].Name)
				}
			}
		}
		if len(missing) > 0 {
			slices.Sort(missing)
			out = append(out, n+" for: "+strings.Join(missing, ","))
		}
	}
	return out
}

// Names of a list, in order.
func Names(l corev1.ResourceList) []corev1.ResourceName {
	out := make([]corev1.ResourceName, 0, len(l))
	for n := range l {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Add adds to list what of has of the names in within; nil list starts one.
func Add(list, of, within corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		list = corev1.ResourceList{}
	}
	for name, q := range of {
		if _, ok := within[name]; !ok {
			continue
		}
		sum := list[name]
		sum.Add(q)
		list[name] = sum
	}
	return list
}
