package usage

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	if change != nil {
		change(p)
	}
	return p
}

func render(l corev1.ResourceList) string {
	var out []string
	for _, n := range Names(l) {
		q := l[n]
		out = append(out, fmt.Sprintf("%s=%s", n, q.String()))
	}
	return fmt.Sprint(out)
}

func TestOf(t *testing.T) {
	class, attributes := "fast", "gold"
	now := time.Unix(1000, 0)
	grace := int64(5)
	for name, test := range map[string]struct {
		gr   string
		obj  runtime.Object
		want string
	}{
		"best effort pod": {"pods", pod(nil), "[count/pods=1 pods=1]"},
		"pod": {"pods", pod(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("cpu", "1", "memory", "1Gi", "example.com/gpu", "2", "hugepages-2Mi", "4Mi"), Limits: list("cpu", "2", "example.com/gpu", "2")}
		}), "[count/pods=1 cpu=1 hugepages-2Mi=4Mi limits.cpu=2 memory=1Gi pods=1 requests.cpu=1 requests.example.com/gpu=2 requests.hugepages-2Mi=4Mi requests.memory=1Gi]"},
		"ended pod": {"pods", pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), "[count/pods=1]"},
		"overdue pod": {"pods", pod(func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(-6 * time.Second)}, &grace
		}), "[count/pods=1]"},
		"leaving pod": {"pods", pod(func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(-4 * time.Second)}, &grace
		}), "[count/pods=1 pods=1]"},
		"service":       {"services", &corev1.Service{}, "[count/services=1 services=1]"},
		"node ports":    {"services", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: make([]corev1.ServicePort, 2)}}, "[count/services=1 services=1 services.nodeports=2]"},
		"load balancer": {"services", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: make([]corev1.ServicePort, 1)}}, "[count/services=1 services=1 services.loadbalancers=1 services.nodeports=1]"},
		"load balancer without ports": {"services", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: new(bool), Ports: make([]corev1.ServicePort, 1)}},
			"[count/services=1 services=1 services.loadbalancers=1]"},
		"claim": {"persistentvolumeclaims", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, VolumeAttributesClassName: &attributes, Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "3Gi")}}},
			"[count/persistentvolumeclaims=1 fast.storageclass.storage.k8s.io/persistentvolumeclaims=1 fast.storageclass.storage.k8s.io/requests.storage=3Gi gold.volumeattributesclass.storage.k8s.io/persistentvolumeclaims=1 gold.volumeattributesclass.storage.k8s.io/requests.storage=3Gi persistentvolumeclaims=1 requests.storage=3Gi]"},
		"config map":  {"configmaps", &corev1.ConfigMap{}, "[configmaps=1 count/configmaps=1]"},
		"replica set": {"replicasets.apps", &metav1.PartialObjectMetadata{}, "[count/replicasets.apps=1]"},
	} {
		u := Of(schema.ParseGroupResource(test.gr), test.obj, now)
		if got := render(u); got != test.want {
			t.Errorf("%s: %s\nwant %s", name, got, test.want)
		}
		for n := range u {
			if gr, ok := By(n); !ok || gr.String() != test.gr {
				t.Errorf("%s: %s is counted by %s", name, n, gr)
			}
		}
	}
	for _, n := range []corev1.ResourceName{"gpu.deviceclass.resource.k8s.io/devices", "limits.example.com/x", "example.com/x", "count/", "nonsense"} {
		if gr, ok := By(n); ok {
			t.Errorf("%s is counted by %s", n, gr)
		}
	}
}

func TestCovers(t *testing.T) {
	deadline := int64(10)
	busy := pod(func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = list("cpu", "1") })
	brief := pod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &deadline })
	high := pod(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" })
	far := pod(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{PodAffinityTerm: corev1.PodAffinityTerm{Namespaces: []string{"x"}}}}}}
	})
	all := map[string]runtime.Object{"plain": pod(nil), "busy": busy, "brief": brief, "high": high, "far": far, "service": &corev1.Service{}}
	selector := func(name corev1.ResourceQuotaScope, op corev1.ScopeSelectorOperator, values ...string) corev1.ResourceQuotaSpec {
		return corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: name, Operator: op, Values: values}}}}
	}
	scopes := func(s ...corev1.ResourceQuotaScope) corev1.ResourceQuotaSpec {
		return corev1.ResourceQuotaSpec{Scopes: s}
	}
	for name, test := range map[string]struct {
		spec corev1.ResourceQuotaSpec
		want []string
	}{
		"none":                 {corev1.ResourceQuotaSpec{}, []string{"brief", "busy", "far", "high", "plain", "service"}},
		"best effort":          {scopes("BestEffort"), []string{"brief", "far", "high", "plain"}},
		"not best effort":      {scopes("NotBestEffort"), []string{"busy"}},
		"terminating":          {scopes("Terminating"), []string{"brief"}},
		"not terminating":      {scopes("NotTerminating"), []string{"busy", "far", "high", "plain"}},
		"both":                 {scopes("NotTerminating", "BestEffort"), []string{"far", "high", "plain"}},
		"crossing":             {scopes("CrossNamespacePodAffinity"), []string{"far"}},
		"class in":             {selector("PriorityClass", "In", "high", "low"), []string{"high"}},
		"class not in":         {selector("PriorityClass", "NotIn", "high"), []string{"brief", "busy", "far", "plain"}},
		"class exists":         {selector("PriorityClass", "Exists"), []string{"high"}},
		"class does not exist": {selector("PriorityClass", "DoesNotExist"), []string{"brief", "busy", "far", "plain"}},
	} {
		var got []string
		for n, o := range all {
			if Covers(&test.spec, o) {
				got = append(got, n)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestUnspecified(t *testing.T) {
	p := pod(func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = list("cpu", "1") })
	got := Unspecified(p, list("cpu", "1", "limits.memory", "1", "requests.memory", "1", "pods", "1"))
	if want := []string{"limits.memory for: c", "requests.memory for: c"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
