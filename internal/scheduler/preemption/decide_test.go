package preemption_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/plugins/noderesources"
	"nau/internal/scheduler/preemption"
	"nau/internal/scheduler/state"
)

func pod(name string, priority int32, cpu string) *plugin.Pod {
	return plugin.NewPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Labels: map[string]string{"name": name}},
		Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)}}}}},
	})
}

func budget(name string, allowed int32) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": name}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed},
	}
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name    string
		nodes   map[string][]*plugin.Pod
		budgets []*policyv1.PodDisruptionBudget
		want    string // "node: victims"
	}{
		{name: "nobody is less important", nodes: map[string][]*plugin.Pod{"a": {pod("x", 10, "1")}}},
		{name: "one is enough", nodes: map[string][]*plugin.Pod{"a": {pod("x", 1, "1"), pod("y", 2, "1")}}, want: "a: x"},
		{name: "both must go", nodes: map[string][]*plugin.Pod{"a": {pod("x", 1, "500m"), pod("y", 2, "500m"), pod("z", 20, "1")}}, want: "a: y x"},
		{name: "even that is too little", nodes: map[string][]*plugin.Pod{"a": {pod("x", 1, "500m"), pod("z", 20, "1500m")}}},
		{name: "the less important node", nodes: map[string][]*plugin.Pod{"a": {pod("x", 5, "2")}, "b": {pod("y", 3, "2")}}, want: "b: y"},
		{name: "the fewer", nodes: map[string][]*plugin.Pod{"a": {pod("x", 3, "1"), pod("w", 3, "1"), pod("v", 10, "0")}, "b": {pod("y", 3, "500m"), pod("z", 3, "1500m")}}, want: "a: x"},
		{name: "a budget protects", nodes: map[string][]*plugin.Pod{"a": {pod("x", 1, "2")}, "b": {pod("y", 3, "2")}},
			budgets: []*policyv1.PodDisruptionBudget{budget("x", 0)}, want: "b: y"},
		{name: "a budget with room does not", nodes: map[string][]*plugin.Pod{"a": {pod("x", 1, "2")}, "b": {pod("y", 3, "2")}},
			budgets: []*policyv1.PodDisruptionBudget{budget("x", 1)}, want: "a: x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cluster := state.New()
			var nodes []*plugin.Node
			for name, pods := range tt.nodes {
				node := cluster.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
					Allocatable: corev1.ResourceList{"cpu": resource.MustParse("2"), "pods": resource.MustParse("10")}}})
				for _, p := range pods {
					p.Object.Spec.NodeName = name
					cluster.SetPod(p)
				}
				nodes = append(nodes, node)
			}
			fit := noderesources.New()
			got := ""
			c, ok := preemption.Decide(pod("p", 10, "1"), nodes, tt.budgets, func(p *plugin.Pod, n *plugin.Node) bool { return fit.Filter(p, n).OK() })
			if ok {
				var names []string
				for _, v := range c.Victims {
					names = append(names, v.Object.Name)
				}
				got = fmt.Sprintf("%s: %s", c.Node.Object.Name, strings.Join(names, " "))
			}
			if got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			if len(nodes) > 0 && slices.ContainsFunc(nodes, func(n *plugin.Node) bool { return int(n.PodCount) != len(n.Pods) }) {
				t.Fatal("deciding changed the picture")
			}
		})
	}
}
