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

// While objects only come, what is charged for those on their way stays charged.
func TestKeep(t *testing.T) {
	list := func(pods, secrets string) corev1.ResourceList {
		return corev1.ResourceList{"pods": resource.MustParse(pods), "secrets": resource.MustParse(secrets)}
	}
	for name, test := range map[string]struct {
		count, charged, want corev1.ResourceList
		more                 bool
	}{
		"nothing on its way":     {list("3", "1"), list("3", "1"), list("3", "1"), false},
		"one is on its way":      {list("3", "1"), list("4", "1"), list("4", "1"), true},
		"not all was charged":    {list("3", "1"), list("2", "1"), list("3", "1"), false},
		"both":                   {list("3", "1"), list("2", "2"), list("3", "2"), true},
		"the first count":        {list("3", "1"), nil, list("3", "1"), false},
		"a name counted no more": {corev1.ResourceList{"pods": resource.MustParse("1")}, list("1", "7"), corev1.ResourceList{"pods": resource.MustParse("1")}, false},
	} {
		count := corev1.ResourceQuotaStatus{Used: test.count}
		more := Keep(&count, &corev1.ResourceQuotaStatus{Used: test.charged})
		if more != test.more || !equality.Semantic.DeepEqual(count.Used, test.want) {
			t.Errorf("%s: %v %v, want %v", name, count.Used, more, test.want)
		}
	}
}
