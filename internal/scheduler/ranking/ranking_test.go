package ranking_test

import (
	"fmt"
	"math/rand"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/scheduler"
	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/ranking"
	"nau/internal/scheduler/state"
)

func node(name, cpu, memory, pods string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory), "pods": resource.MustParse(pods),
		}},
	}
}

func pod(name, cpu, memory string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}},
	}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}
	}
	for _, f := range edit {
		f(p)
	}
	return p
}

func spread(key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "spread-" + key}
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}
	}
}

func apart(p *corev1.Pod) {
	p.Labels = map[string]string{"app": "apart"}
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
		TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}}}
}

func TestBestAndWhy(t *testing.T) {
	gpu := func(n *corev1.Node) *corev1.Node { n.Labels["gpu"] = "nvidia"; return n }
	tainted := func(n *corev1.Node) *corev1.Node {
		n.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}}
		return n
	}
	soft := func(n *corev1.Node) *corev1.Node {
		n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectPreferNoSchedule}}
		return n
	}
	cordoned := func(n *corev1.Node) *corev1.Node { n.Spec.Unschedulable = true; return n }
	hostPort := func(port int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: port, ContainerPort: port}}
		}
	}
	tests := []struct {
		name  string
		nodes []*corev1.Node
		bound map[string]*corev1.Pod // node → pod
		pod   *corev1.Pod
		want  string
		why   string
	}{
		{name: "no nodes", pod: pod("p", "", ""), why: "no nodes available to schedule pods"},
		{name: "only one", nodes: []*corev1.Node{node("a", "1", "1Gi", "110")}, pod: pod("p", "", ""), want: "a"},
		{name: "selector picks", nodes: []*corev1.Node{node("a", "8", "8Gi", "110"), gpu(node("b", "1", "1Gi", "110"))},
			pod: pod("p", "", "", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"gpu": "nvidia"} }), want: "b"},
		{name: "selector finds none", nodes: []*corev1.Node{node("a", "8", "8Gi", "110")},
			pod: pod("p", "", "", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"gpu": "nvidia"} }),
			why: "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
		{name: "taint", nodes: []*corev1.Node{tainted(node("a", "8", "8Gi", "110"))}, pod: pod("p", "", ""),
			why: "0/1 nodes are available: 1 node(s) had untolerated taint(s)."},
		{name: "tolerated", nodes: []*corev1.Node{tainted(node("a", "8", "8Gi", "110"))},
			pod:  pod("p", "", "", func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: "Exists"}} }),
			want: "a"},
		{name: "soft taint is avoided", nodes: []*corev1.Node{soft(node("a", "8", "8Gi", "110")), node("b", "8", "8Gi", "110")}, pod: pod("p", "", ""), want: "b"},
		{name: "cordoned", nodes: []*corev1.Node{cordoned(node("a", "8", "8Gi", "110"))}, pod: pod("p", "", ""),
			why: "0/1 nodes are available: 1 node(s) were unschedulable."},
		{name: "too small", nodes: []*corev1.Node{node("a", "1", "1Gi", "110"), node("b", "4", "1Gi", "110")}, pod: pod("p", "2", "2Gi"),
			why: "0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient memory."},
		{name: "full of pods", nodes: []*corev1.Node{node("a", "1", "1Gi", "1")}, bound: map[string]*corev1.Pod{"a": pod("x", "", "")}, pod: pod("p", "", ""),
			why: "0/1 nodes are available: 1 Too many pods."},
		{name: "the emptier", nodes: []*corev1.Node{node("a", "4", "4Gi", "110"), node("b", "4", "4Gi", "110")},
			bound: map[string]*corev1.Pod{"a": pod("x", "1", "1Gi")}, pod: pod("p", "1", "1Gi"), want: "b"},
		{name: "host port taken", nodes: []*corev1.Node{node("a", "4", "4Gi", "110")},
			bound: map[string]*corev1.Pod{"a": pod("x", "", "", hostPort(80))}, pod: pod("p", "", "", hostPort(80)),
			why: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		{name: "named node", nodes: []*corev1.Node{node("a", "4", "4Gi", "110"), node("b", "1", "1Gi", "110")},
			pod: pod("p", "", "", func(p *corev1.Pod) { p.Spec.NodeName = "b" }), want: "b"},
		{name: "preferred affinity", nodes: []*corev1.Node{node("a", "4", "4Gi", "110"), gpu(node("b", "4", "4Gi", "110"))},
			pod: pod("p", "", "", func(p *corev1.Pod) {
				p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
					Weight: 10, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "gpu", Operator: "Exists"}}}}}}}
			}), want: "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cluster := state.New()
			for _, n := range tt.nodes {
				cluster.SetNode(n)
			}
			for on, p := range tt.bound {
				p.Spec.NodeName = on
				cluster.SetPod(plugin.NewPod(p))
			}
			r := ranking.New(cluster, scheduler.DefaultRules(nil))
			p := plugin.NewPod(tt.pod)
			slot, ok := r.Best(p)
			if !ok {
				if why, _ := r.Why(p); why != tt.why {
					t.Fatalf("rejected: %q, want %q", why, tt.why)
				}
				return
			}
			if got := cluster.Node(slot).Object.Name; got != tt.want {
				t.Fatalf("got node %q, want %q (why: %q)", got, tt.want, tt.why)
			}
		})
	}
}

// A ranking that follows changes must always answer as a fresh one does.
func TestFollowingEqualsLookingAnew(t *testing.T) {
	random := rand.New(rand.NewSource(7))
	cluster := state.New()
	following := ranking.New(cluster, scheduler.DefaultRules(nil))
	kinds := []*plugin.Pod{plugin.NewPod(pod("k1", "100m", "64Mi")), plugin.NewPod(pod("k2", "500m", "512Mi")), plugin.NewPod(pod("k3", "", "")),
		plugin.NewPod(pod("k4", "", "", spread("kubernetes.io/hostname"))), plugin.NewPod(pod("k5", "", "", spread("zone"))), plugin.NewPod(pod("k6", "", "", apart))}
	var placed []types.UID
	for step := range 3000 {
		switch choice := random.Intn(10); {
		case choice < 2:
			n := node(fmt.Sprint("n", random.Intn(40)), fmt.Sprint(1+random.Intn(8)), "8Gi", "20")
			n.Labels["zone"] = fmt.Sprint("z", random.Intn(3))
			cluster.SetNode(n)
		case choice == 2:
			cluster.RemoveNode(fmt.Sprint("n", random.Intn(40)))
		case choice == 3 && len(placed) > 0:
			i := random.Intn(len(placed))
			cluster.RemovePod(placed[i])
			placed = append(placed[:i], placed[i+1:]...)
		default:
			kind := kinds[random.Intn(len(kinds))]
			slot, ok := following.Best(kind)
			fresh, freshOK := ranking.New(cluster, scheduler.DefaultRules(nil)).Best(kind)
			if ok != freshOK || (ok && slot != fresh) {
				t.Fatalf("step %d: following says %v %v, anew %v %v", step, slot, ok, fresh, freshOK)
			}
			if ok {
				p := *kind
				object := *kind.Object
				object.UID = types.UID(fmt.Sprint("p", step))
				p.Object = &object
				cluster.Assume(&p, slot)
				placed = append(placed, p.Object.UID)
			}
		}
	}
	if len(placed) < 100 {
		t.Fatalf("only %d pods placed: the test lost its subject", len(placed))
	}
}

func BenchmarkDecisions5000Nodes(b *testing.B) { benchmark(b, func(*corev1.Pod) {}) }

func BenchmarkDecisions5000NodesSpreadOverZones(b *testing.B) { benchmark(b, spread("zone")) }

func BenchmarkDecisions5000NodesSpreadOverNodes(b *testing.B) {
	benchmark(b, spread("kubernetes.io/hostname"))
}

func BenchmarkDecisions5000NodesAntiAffinity(b *testing.B) {
	benchmark(b, func(p *corev1.Pod) {
		apart(p)
		p.Labels["app"] += p.Spec.Containers[0].Resources.Requests.Cpu().String()
	})
}

func benchmark(b *testing.B, edit func(*corev1.Pod)) {
	cluster := state.New()
	for i := range 5000 {
		n := node(fmt.Sprint("node-", i), "32", "64Gi", "110")
		n.Labels["zone"] = fmt.Sprint("z", i%3)
		cluster.SetNode(n)
	}
	r := ranking.New(cluster, scheduler.DefaultRules(nil))
	var templates []*corev1.Pod
	for i := range 20 {
		templates = append(templates, pod("t", fmt.Sprint(50+10*i, "m"), "64Mi", edit))
	}
	b.ResetTimer()
	for i := range b.N {
		object := *templates[i/500%len(templates)]
		object.UID = types.UID(fmt.Sprint(i))
		p := plugin.NewPod(&object)
		slot, ok := r.Best(p)
		if !ok {
			b.Fatal("no node")
		}
		cluster.Assume(p, slot)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}
