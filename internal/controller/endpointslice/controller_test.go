package endpointslice

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/controller/controllertest"
)

func TestController(t *testing.T) {
	e := controllertest.New(t, service(), pod(0))
	e.Run(New(Config{Client: e.Client, Informers: e.Informers}))
	endpoints := func(n int) func() error {
		return func() error {
			list, err := e.Client.DiscoveryV1().EndpointSlices("a").List(e.Ctx, metav1.ListOptions{})
			if err != nil || len(list.Items) != 1 || len(list.Items[0].Endpoints) != n {
				return fmt.Errorf("%+v %v", list.Items, err)
			}
			return nil
		}
	}
	e.Until(endpoints(1))
	for i := 1; i < 5; i++ {
		if _, err := e.Client.CoreV1().Pods("a").Create(e.Ctx, pod(i), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	e.Until(endpoints(5))
	e.Client.CoreV1().Pods("a").Delete(e.Ctx, "p0", metav1.DeleteOptions{})
	e.Until(endpoints(4))
}
