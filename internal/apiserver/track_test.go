package apiserver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"nau/internal/api/builtin"
)

// mutations change a pod in the ways that clients do.
var mutations = []func(r *rand.Rand, p *corev1.Pod){
	func(r *rand.Rand, p *corev1.Pod) { p.Labels = toggle(r, p.Labels) },
	func(r *rand.Rand, p *corev1.Pod) { p.Annotations = toggle(r, p.Annotations) },
	func(r *rand.Rand, p *corev1.Pod) { p.Spec.NodeSelector = toggle(r, p.Spec.NodeSelector) },
	func(r *rand.Rand, p *corev1.Pod) { p.Spec.NodeName = fmt.Sprint("n", r.IntN(3)) },
	func(r *rand.Rand, p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprint("c", r.IntN(4)), Image: fmt.Sprint(r.IntN(3))})
	},
	func(r *rand.Rand, p *corev1.Pod) {
		if n := len(p.Spec.Containers); n > 0 {
			c := &p.Spec.Containers[r.IntN(n)]
			switch r.IntN(6) {
			case 0:
				c.Image = fmt.Sprint(r.IntN(3))
			case 1:
				c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprint("E", r.IntN(3)), Value: fmt.Sprint(r.IntN(2))})
			case 2:
				c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: int32(80 + r.IntN(3)), Protocol: "TCP"})
			case 3:
				c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}}
			case 4:
				c.ReadinessProbe, c.Env, c.Ports = nil, nil, nil
			case 5:
				p.Spec.Containers = p.Spec.Containers[:n-1]
			}
		}
	},
	func(r *rand.Rand, p *corev1.Pod) {
		if p.Spec.SecurityContext == nil {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{}
		} else {
			p.Spec.SecurityContext = nil
		}
	},
	func(r *rand.Rand, p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("v", r.IntN(3)), VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	},
	func(r *rand.Rand, p *corev1.Pod) { p.Finalizers = []string{"a/b", "c/d"}[:r.IntN(3)] },
	func(r *rand.Rand, p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodConditionType(fmt.Sprint("T", r.IntN(3))), Status: "True"})
	},
	func(r *rand.Rand, p *corev1.Pod) {
		p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprint("1.1.1.", r.IntN(3))}}
	},
	func(r *rand.Rand, p *corev1.Pod) {
		p.Status.Phase = corev1.PodPhase([]string{"", "Running"}[r.IntN(2)])
	},
	func(r *rand.Rand, p *corev1.Pod) {
		t := metav1.NewTime(time.Unix(int64(r.IntN(3)), 0))
		p.Status.StartTime = &t
	},
	func(r *rand.Rand, p *corev1.Pod) { p.Status = corev1.PodStatus{} },
	func(r *rand.Rand, p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{UID: "1", Name: "a", Kind: "K", APIVersion: "v1"}}
	},
}

func toggle(r *rand.Rand, m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	k := fmt.Sprint("k", r.IntN(3))
	if r.IntN(2) == 0 {
		delete(out, k)
	} else {
		out[k] = fmt.Sprint(r.IntN(3))
	}
	if len(out) == 0 && r.IntN(2) == 0 {
		return nil
	}
	return out
}

// The quick way must come to what the library comes to, over random histories of one object.
func TestQuickTrackingIsTheLibrarys(t *testing.T) {
	reg := newRegistry(nil, nil)
	if err := reg.add(builtin.Table()...); err != nil {
		t.Fatal(err)
	}
	ep := reg.now().endpoints[podsGVR]
	quick := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var live runtime.Object
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		for step := range 12 {
			for range 1 + r.IntN(3) {
				mutations[r.IntN(len(mutations))](r, p)
			}
			sub := []string{"", "", "status"}[r.IntN(3)]
			if live == nil {
				sub = ""
			}
			who := fmt.Sprint("m", r.IntN(3))
			a, b := p.DeepCopy(), p.DeepCopy()
			a.SetGroupVersionKind(ep.gvk)
			b.SetGroupVersionKind(ep.gvk)
			ok := ep.trackQuickly(live, a, sub, who, time.Now())
			ep.trackThoroughly(live, b, sub, who)
			if !ok {
				a = b
			} else {
				quick++
			}
			for _, list := range [][]metav1.ManagedFieldsEntry{a.ManagedFields, b.ManagedFields} {
				slices.SortFunc(list, func(x, y metav1.ManagedFieldsEntry) int { // times may lie on two sides of a second
					x.Time, y.Time = nil, nil
					return compareEntries(x, y)
				})
			}
			if !sameButTimes(a.ManagedFields, b.ManagedFields) {
				t.Fatalf("seed %d step %d sub %q who %s:\nquick   %s\nlibrary %s\nlive %+v\nnew %+v", seed, step, sub, who, show(a), show(b), live, p)
			}
			for i := range a.ManagedFields {
				if unix(a.ManagedFields[i].Time)-unix(b.ManagedFields[i].Time) > 1 {
					t.Fatalf("seed %d step %d: times differ", seed, step)
				}
			}
			p = a
			p.TypeMeta = metav1.TypeMeta{}
			p.UID = "u"
			live = p.DeepCopy()
		}
	}
	if quick < 2000 {
		t.Errorf("only %d of 3600 writes went the quick way", quick)
	}
}

// What a creator owns must be what the library finds, for every kind, over random objects.
func TestCreatedIsTheLibrarys(t *testing.T) {
	reg := newRegistry(nil, nil)
	if err := reg.add(builtin.Table()...); err != nil {
		t.Fatal(err)
	}
	all, quick, compared := 0, 0, 0
	for gvr, ep := range reg.now().endpoints {
		if ep.res.Virtual || ep.ver.New == nil || ep.ver.ToStorage != nil || ep.schemaless {
			continue
		}
		own := 0
		for seed := range int64(30) {
			obj := ep.ver.New()
			fill := randfill.NewWithSeed(seed).NilChance([]float64{.9, .6, .2}[seed%3]).NumElements(0, 3).MaxDepth(12).Funcs(
				func(s *string, c randfill.Continue) {
					*s = string(rune('a'+c.Intn(26))) + "-/." + fmt.Sprint(c.Intn(20))
				},
				func(v *metav1.TypeMeta, c randfill.Continue) {},
				func(v *metav1.FieldsV1, c randfill.Continue) {},
				func(v *runtime.RawExtension, c randfill.Continue) {},
				func(v *apiextensionsv1.JSON, c randfill.Continue) { v.Raw = []byte("1") },
				func(v *metav1.Time, c randfill.Continue) { *v = metav1.Unix(int64(c.Intn(3)), 0) },
				func(v *metav1.MicroTime, c randfill.Continue) {
					*v = metav1.NewMicroTime(time.Unix(int64(c.Intn(3)), 0))
				},
				func(v *resource.Quantity, c randfill.Continue) {
					*v = *resource.NewQuantity(int64(c.Intn(9)), resource.DecimalSI)
				},
				func(v *intstr.IntOrString, c randfill.Continue) { *v = intstr.FromInt32(int32(c.Intn(9))) },
			)
			fill.Fill(obj)
			m := obj.(metav1.Object)
			m.SetManagedFields(nil)
			obj.GetObjectKind().SetGroupVersionKind(ep.gvk)
			all++
			raw, ok := ep.created(obj)
			if !ok {
				continue
			}
			quick++
			own++
			ep.trackThoroughly(nil, obj, "", "m")
			f := m.GetManagedFields()
			if len(f) == 0 && raw != nil {
				continue // the library refuses the object, for what validation would refuse it
			}
			compared++
			if got := string(raw); len(f) > 0 && got != f[0].FieldsV1.String() || len(f) == 0 && raw != nil {
				want := fmt.Sprint(f)
				t.Fatalf("%s, seed %d:\nquick   %s\nlibrary %s", gvr, seed, got, want)
			}
		}
		if own == 0 {
			t.Errorf("%s: never quick", gvr)
		}
	}
	if quick < all/2 || compared < quick*3/4 {
		t.Errorf("of %d objects only %d went the quick way, and %d could be compared", all, quick, compared)
	}
}

func show(p *corev1.Pod) (out string) {
	for _, e := range p.ManagedFields {
		out += fmt.Sprintf("\n  %s %s %q %s", e.Manager, e.Operation, e.Subresource, e.FieldsV1)
	}
	return out
}

func BenchmarkTrackCreated(b *testing.B) {
	reg := newRegistry(nil, nil)
	if err := reg.add(builtin.Table()...); err != nil {
		b.Fatal(err)
	}
	ep := reg.now().endpoints[podsGVR]
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"app": "x", "tier": "y"}, Annotations: map[string]string{"a": "1", "b": "2"}}}
	pod.Spec.Containers = []corev1.Container{{
		Name: "main", Image: "i", Args: []string{"a"}, Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
		Ports:     []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: "TCP"}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("10m"), "memory": resource.MustParse("16Mi")}},
	}}
	ep.ver.Default(pod)
	b.ReportAllocs()
	for b.Loop() {
		pod.ManagedFields = nil
		if !ep.trackQuickly(nil, pod, "", "m", time.Unix(0, 0)) {
			b.Fatal("not quick")
		}
	}
}
