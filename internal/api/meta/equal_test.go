package meta

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"
)

// Equal must say what apimachinery says, over random pods and pairs that differ in one place.
func TestEqualIsSemantic(t *testing.T) {
	same, different := 0, 0
	for seed := range int64(400) {
		fill := randfill.NewWithSeed(seed).NilChance(.4).NumElements(0, 2).MaxDepth(10).Funcs(
			func(v *resource.Quantity, c randfill.Continue) {
				*v = resource.MustParse([]string{"1", "1000m", "1k", "1000", "2Gi"}[c.Intn(5)])
			},
			func(v *metav1.Time, c randfill.Continue) { *v = metav1.Unix(int64(c.Intn(2)), 0) },
			func(v *string, c randfill.Continue) { *v = fmt.Sprint(c.Intn(3)) },
			func(v *int32, c randfill.Continue) { *v = int32(c.Intn(2)) },
			func(v *int64, c randfill.Continue) { *v = int64(c.Intn(2)) },
		)
		var a, b corev1.Pod
		fill.Fill(&a)
		fill.Fill(&b)
		mixed := a.DeepCopy()
		i := int(seed) % reflect.TypeFor[corev1.PodSpec]().NumField()
		reflect.ValueOf(&mixed.Spec).Elem().Field(i).Set(reflect.ValueOf(&b.Spec).Elem().Field(i))
		for _, pair := range [][2]*corev1.Pod{{&a, a.DeepCopy()}, {&a, &b}, {&a, mixed}, {&a, &a}} {
			for _, parts := range [][2]any{{pair[0], pair[1]}, {&pair[0].Spec, &pair[1].Spec}, {pair[0].Spec, pair[1].Spec}} {
				want := apiequality.Semantic.DeepEqual(parts[0], parts[1])
				if got := Equal(parts[0], parts[1]); got != want {
					t.Fatalf("seed %d: %v, semantically %v:\n%+v\n%+v", seed, got, want, parts[0], parts[1])
				}
				if want {
					same++
				} else {
					different++
				}
			}
		}
	}
	if same < 1000 || different < 1000 {
		t.Errorf("%d pairs were the same, %d different", same, different)
	}
	for _, pair := range [][2]any{
		{[]string(nil), []string{}}, {map[string]string(nil), map[string]string{}}, {nil, nil}, {nil, []string{}},
		{resource.MustParse("1"), resource.MustParse("1000m")}, {metav1.Unix(1, 0), metav1.NewTime(time.Unix(1, 0).UTC())},
		{&corev1.EmptyDirVolumeSource{}, (*corev1.EmptyDirVolumeSource)(nil)}, {int32(1), int64(1)},
	} {
		if got, want := Equal(pair[0], pair[1]), apiequality.Semantic.DeepEqual(pair[0], pair[1]); got != want {
			t.Errorf("%#v and %#v: %v, semantically %v", pair[0], pair[1], got, want)
		}
	}
}

func BenchmarkEqual(b *testing.B) {
	pod := &corev1.PodSpec{SchedulerName: "s", Containers: []corev1.Container{{
		Name: "main", Image: "i", Args: []string{"a"}, Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
		Ports:     []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: "TCP"}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("10m"), "memory": resource.MustParse("16Mi")}},
	}}}
	other, shared := pod.DeepCopy(), *pod
	for name, run := range map[string]func() bool{
		"semantic": func() bool { return apiequality.Semantic.DeepEqual(*pod, *other) },
		"copy":     func() bool { return Equal(pod, other) },
		"shared":   func() bool { return Equal(pod, &shared) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !run() {
					b.Fatal("differs")
				}
			}
		})
	}
}
