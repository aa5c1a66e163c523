package ranking_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/scheduler"
	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/ranking"
	"nau/internal/scheduler/state"
)

func near(p *corev1.Pod) {
	p.Labels = map[string]string{"app": "near"}
	p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
		TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}}}
}

func labelled(app string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{"app": app} }
}

func TestConstraintsOnPodsAround(t *testing.T) {
	inZone := func(name, zone string) *corev1.Node {
		n := node(name, "8", "8Gi", "110")
		if zone != "" {
			n.Labels["zone"] = zone
		}
		return n
	}
	type bound struct {
		on  string
		pod *corev1.Pod
	}
	tests := []struct {
		name  string
		nodes []*corev1.Node
		bound []bound
		pod   *corev1.Pod
		want  string
		why   string
	}{
		{name: "the emptier zone", nodes: []*corev1.Node{inZone("a", "z1"), inZone("b", "z2")},
			bound: []bound{{"a", pod("x", "", "", spread("zone"))}}, pod: pod("p", "", "", spread("zone")), want: "b"},
		{name: "no zone label", nodes: []*corev1.Node{inZone("a", "")}, pod: pod("p", "", "", spread("zone")),
			why: "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."},
		{name: "a full node elsewhere keeps the skew", nodes: []*corev1.Node{inZone("a", "z1"), func() *corev1.Node { n := inZone("b", "z2"); n.Spec.Unschedulable = true; return n }()},
			bound: []bound{{"a", pod("x", "", "", spread("zone"))}}, pod: pod("p", "", "", spread("zone")),
			why: "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable."},
		{name: "near the database", nodes: []*corev1.Node{inZone("a", "z1"), inZone("b", "z2")},
			bound: []bound{{"b", pod("x", "4", "4Gi", labelled("db"))}}, pod: pod("p", "", "", near), want: "b"},
		{name: "no database", nodes: []*corev1.Node{inZone("a", "z1")}, pod: pod("p", "", "", near),
			why: "0/1 nodes are available: 1 node(s) didn't match pod affinity rules."},
		{name: "the first of a group", nodes: []*corev1.Node{inZone("a", "z1")},
			pod: pod("p", "", "", near, labelled("db")), want: "a"},
		{name: "apart", nodes: []*corev1.Node{inZone("a", "z1"), inZone("b", "z1")},
			bound: []bound{{"a", pod("x", "", "", apart)}}, pod: pod("p", "", "", apart), want: "b"},
		{name: "kept away by a pod that is there", nodes: []*corev1.Node{inZone("a", "z1")},
			bound: []bound{{"a", pod("x", "", "", apart)}}, pod: pod("p", "", "", labelled("apart")),
			why: "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."},
		{name: "another namespace is not meant", nodes: []*corev1.Node{inZone("a", "z1")},
			bound: []bound{{"a", pod("x", "", "", apart)}},
			pod:   pod("p", "", "", labelled("apart"), func(p *corev1.Pod) { p.Namespace = "other" }), want: "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cluster := state.New()
			for _, n := range tt.nodes {
				cluster.SetNode(n)
			}
			for _, b := range tt.bound {
				b.pod.Spec.NodeName = b.on
				cluster.SetPod(plugin.NewPod(b.pod))
			}
			r := ranking.New(cluster, scheduler.DefaultRules(nil))
			p := plugin.NewPod(tt.pod)
			slot, ok := r.Best(p)
			got, why := "", ""
			if ok {
				got = cluster.Node(slot).Object.Name
			} else {
				why, _ = r.Why(p)
			}
			if got != tt.want || why != tt.why {
				t.Fatalf("got %q (%s), want %q (%s)", got, why, tt.want, tt.why)
			}
		})
	}
}
