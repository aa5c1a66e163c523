package environ

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B_C": "x y", "E": ""}
	for in, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "a$(A)b$(B_C)": "a1bx y", "$$(A)": "$(A)", "$$$(A)": "$1", "$(X)": "$(X)", "$(A": "$(A",
		"$": "$", "$$": "$", "$A": "$A", "$(E)-": "-", "$()": "$()", "$$$$(A)": "$$(A)", "é$(A)": "é1",
	} {
		if got := Expand(in, vars); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("a$(A)$$$(B")
	f.Fuzz(func(t *testing.T, s string) { _ = Expand(s, map[string]string{"A": "$(A)"}) })
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("A='1'\n# c\nB='x\ny'\n"))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = ParseFile(b) })
}

func TestParseFile(t *testing.T) {
	got, err := ParseFile([]byte("# c\nA='1'\n\nB='x\ny'\nC=''"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"A": "1", "B": "x\ny", "C": ""}, got); d != "" {
		t.Error(d)
	}
	if _, err := ParseFile([]byte("A=1")); err == nil {
		t.Error("an unquoted value was taken")
	}
}

func TestBuild(t *testing.T) {
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", Labels: map[string]string{"a/b": "c"}}, Spec: corev1.PodSpec{NodeName: "node"}}
	c := &corev1.Container{Name: "c",
		EnvFrom: []corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
		Env: []corev1.EnvVar{
			{Name: "X", Value: "$(P_k)-$(DB_SERVICE_HOST)"}, {Name: "Y", Value: "$(X)!"},
			{Name: "N", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['a/b']"}}},
			{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
			{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.memory", Divisor: resource.MustParse("1Mi")}}},
			{Name: "OPT", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "none", LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Optional: &yes}}},
		},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"memory": resource.MustParse("10Mi")}},
	}
	svc := Services([]*corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "n"}, Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.9", Ports: []corev1.ServicePort{{Port: 5432, Protocol: "TCP", Name: "sql"}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: "m"}, Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.8", Ports: []corev1.ServicePort{{Port: 1}}}}}, "n", true)
	src := &Sources{ConfigMap: func(string) (*corev1.ConfigMap, error) {
		return &corev1.ConfigMap{Data: map[string]string{"k": "v"}}, nil
	}, Services: svc, PodIPs: []string{"10.42.0.2"}, Allocatable: corev1.ResourceList{"cpu": resource.MustParse("1500m")}}
	vars, _, err := Build(pod, c, src)
	if err != nil {
		t.Fatal(err)
	}
	want := []Var{{"P_k", "v"}, {"X", "v-10.43.0.9"}, {"Y", "v-10.43.0.9!"}, {"N", "c"}, {"IP", "10.42.0.2"}, {"CPU", "2"}, {"MEM", "10"},
		{"DB_PORT", "tcp://10.43.0.9:5432"}, {"DB_PORT_5432_TCP", "tcp://10.43.0.9:5432"}, {"DB_PORT_5432_TCP_ADDR", "10.43.0.9"}, {"DB_PORT_5432_TCP_PORT", "5432"},
		{"DB_PORT_5432_TCP_PROTO", "tcp"}, {"DB_SERVICE_HOST", "10.43.0.9"}, {"DB_SERVICE_PORT", "5432"}, {"DB_SERVICE_PORT_SQL", "5432"}}
	if d := cmp.Diff(want, vars); d != "" {
		t.Error(d)
	}
	c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "none", LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}}
	if _, _, err := Build(pod, c, src); err == nil || err.Error() != "couldn't find key none in ConfigMap n/cm" {
		t.Errorf("missing key: %v", err)
	}
}
