package resourcequota

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestDecide(t *testing.T) {
	hard := corev1.ResourceList{"pods": resource.MustParse("5"), "requests.cpu": resource.MustParse("2"), "count/ships.example.com": resource.MustParse("1"), "secrets": resource.MustParse("0")}
	busy := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("500m")}}}}}}
	ended := busy.DeepCopy()
	ended.Status.Phase = corev1.PodSucceeded
	objects := map[schema.GroupResource][]runtime.Object{
		{Resource: "pods"}:    {busy, busy, ended, &corev1.Pod{}},
		{Resource: "secrets"}: {},
	}
	for name, test := range map[string]struct {
		scopes []corev1.ResourceQuotaScope
		want   corev1.ResourceList
	}{
		"all":         {nil, corev1.ResourceList{"pods": resource.MustParse("3"), "requests.cpu": resource.MustParse("1"), "secrets": resource.MustParse("0")}},
		"best effort": {[]corev1.ResourceQuotaScope{"BestEffort"}, corev1.ResourceList{"pods": resource.MustParse("1"), "requests.cpu": resource.MustParse("0"), "secrets": resource.MustParse("0")}},
	} {
		got := Decide(&corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: hard, Scopes: test.scopes}}, objects, time.Unix(0, 0))
		if !equality.Semantic.DeepEqual(got, corev1.ResourceQuotaStatus{Hard: hard, Used: test.want}) {
			t.Errorf("%s: %v, want %v", name, got.Used, test.want)
		}
	}
}
