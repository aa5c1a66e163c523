package model

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
)

func pod() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"app": "x"}, Finalizers: []string{"f/a"}, OwnerReferences: []metav1.OwnerReference{{UID: "1", Name: "o"}}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"a": "b"},
			Containers:   []corev1.Container{{Name: "c", Image: "i", Ports: []corev1.ContainerPort{{ContainerPort: 80}}, Env: []corev1.EnvVar{{Name: "A", Value: "B"}}}},
			Tolerations:  []corev1.Toleration{{Key: "k"}},
			Volumes:      []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{Items: []corev1.KeyToPath{{Key: "k", Path: "p"}}}}}},
		},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: "Ready", Status: "True"}}, PodIPs: []corev1.PodIP{{IP: "1.2.3.4"}}},
	}
}

// The reference is the schema that client-go ships for its fake clients.
func TestFieldSetsAreThoseOfTheShippedSchema(t *testing.T) {
	ref := applyconfigurations.NewTypeConverter(scheme.Scheme)
	svc := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80}}, ClusterIPs: []string{"10.0.0.1"}, SessionAffinity: "None"}}
	for _, o := range []metav1.Object{pod(), svc} {
		switch x := o.(type) {
		case *corev1.Pod:
			want, err := ref.ObjectToTyped(x)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, reflect.TypeFor[corev1.Pod](), x, must(want.ToFieldSet()).String())
		case *corev1.Service:
			want, err := ref.ObjectToTyped(x)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, reflect.TypeFor[corev1.Service](), x, must(want.ToFieldSet()).String())
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func compare(t *testing.T, typ reflect.Type, obj any, want string) {
	t.Helper()
	tv, err := Parseable(typ).FromStructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	if got := must(tv.ToFieldSet()).String(); got != want {
		t.Errorf("field set of %s:\n got %s\nwant %s", typ, got, want)
	}
}

func BenchmarkBuildPod(b *testing.B) {
	for b.Loop() {
		defs.Clear()
		fieldCache.Clear()
		Parseable(reflect.TypeFor[corev1.Pod]())
	}
}
