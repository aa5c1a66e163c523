package endpoints

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nau/internal/controller/controllertest"
)

func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", Labels: map[string]string{"team": "x"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, ClusterIP: "10.43.0.9", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
}

func pod(i int, ready bool) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprintf("p%04d", i), UID: types.UID(fmt.Sprint(i)), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.42.%d.%d", i/250, i%250+1)},
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func TestDecide(t *testing.T) {
	e := decide(service(), []*corev1.Pod{pod(2, true), pod(1, false), pod(0, true)}, nil)
	if len(e.Subsets) != 1 || e.Name != "web" || e.Labels["team"] != "x" || e.Labels[managedBy] != name {
		t.Fatalf("%+v", e)
	}
	s := e.Subsets[0]
	if len(s.Addresses) != 2 || s.Addresses[0].IP != "10.42.0.1" || len(s.NotReadyAddresses) != 1 || s.Ports[0].Port != 8080 {
		t.Errorf("%+v", s)
	}
	if again := decide(service(), []*corev1.Pod{pod(0, true), pod(1, false), pod(2, true)}, e); again != nil {
		t.Errorf("changed without a cause: %+v", again)
	}
	going := pod(0, true)
	going.DeletionTimestamp = &metav1.Time{}
	if e := decide(service(), []*corev1.Pod{going}, nil); len(e.Subsets) != 0 {
		t.Errorf("%+v", e.Subsets)
	}
	published := service()
	published.Spec.PublishNotReadyAddresses = true
	if e := decide(published, []*corev1.Pod{pod(1, false)}, nil); len(e.Subsets[0].Addresses) != 1 {
		t.Errorf("%+v", e.Subsets)
	}
	var many []*corev1.Pod
	for i := range capacity + 1 {
		many = append(many, pod(i, true))
	}
	e = decide(service(), many, nil)
	if len(e.Subsets[0].Addresses) != capacity || e.Annotations[corev1.EndpointsOverCapacity] != "truncated" {
		t.Errorf("%d %v", len(e.Subsets[0].Addresses), e.Annotations)
	}
}

func TestController(t *testing.T) {
	e := controllertest.New(t, service(), pod(0, true))
	e.Run(New(Config{Client: e.Client, Informers: e.Informers}))
	addresses := func(n int) func() error {
		return func() error {
			got, err := e.Client.CoreV1().Endpoints("a").Get(e.Ctx, "web", metav1.GetOptions{})
			if err != nil || len(got.Subsets) != 1 || len(got.Subsets[0].Addresses) != n {
				return fmt.Errorf("%+v %v", got, err)
			}
			return nil
		}
	}
	e.Until(addresses(1))
	if _, err := e.Client.CoreV1().Pods("a").Create(e.Ctx, pod(1, true), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Until(addresses(2))
	e.Client.CoreV1().Services("a").Delete(e.Ctx, "web", metav1.DeleteOptions{})
	e.Until(func() error {
		if _, err := e.Client.CoreV1().Endpoints("a").Get(e.Ctx, "web", metav1.GetOptions{}); err == nil {
			return fmt.Errorf("still there")
		}
		return nil
	})
}
