package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// recorder is a backend that tells what it was asked for.
type recorder struct {
	mu        sync.Mutex
	fail      error
	calls     chan string
	disturbed chan struct{}
}

func (r *recorder) say(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		err := r.fail
		r.fail = nil
		r.calls <- "fail"
		return err
	}
	r.calls <- what
	return nil
}

func (r *recorder) Replace(all []*Port) error {
	var names []string
	for _, p := range all {
		names = append(names, p.Service)
	}
	return r.say("replace " + strings.Join(names, ","))
}

func (r *recorder) Apply(changes []Change) error {
	var parts []string
	for _, c := range changes {
		switch {
		case c.Old == nil:
			parts = append(parts, "+"+c.New.Service)
		case c.New == nil:
			parts = append(parts, "-"+c.Old.Service)
		default:
			parts = append(parts, "~"+c.New.Service)
		}
	}
	return r.say("apply " + strings.Join(parts, ","))
}

func (r *recorder) Disturbed() <-chan struct{} { return r.disturbed }

func TestProxyFollowsTheAPI(t *testing.T) {
	c := fake.NewClientset(serviceWith(func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 32000 }), slice("a", discoveryv1.AddressTypeIPv4, 8080, "10.42.0.2 n1"))
	f := informers.NewSharedInformerFactory(c, 0)
	r := &recorder{calls: make(chan string, 10), disturbed: make(chan struct{}, 1)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Client: c, Informers: f, NodeName: "n1", Backend: r, Listen: func(_, addr string) (net.Listener, error) {
		if addr != ":32000" {
			t.Errorf("listen on %s", addr)
		}
		return listener, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.Start(ctx.Done())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-r.calls:
			if got != want {
				t.Fatalf("backend was asked for %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("backend was never asked for %q", want)
		}
	}
	health := func() (code, count int) {
		resp, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body struct{ LocalEndpoints int }
		json.NewDecoder(resp.Body).Decode(&body)
		return resp.StatusCode, body.LocalEndpoints
	}
	expect("replace web")
	if code, n := health(); code != 200 || n != 1 {
		t.Errorf("health %d %d", code, n)
	}
	slices := c.DiscoveryV1().EndpointSlices("ns")
	slices.Update(ctx, slice("a", discoveryv1.AddressTypeIPv4, 8080, "10.42.1.2 n2"), metav1.UpdateOptions{})
	expect("apply ~web")
	if code, n := health(); code != 503 || n != 0 {
		t.Errorf("health %d %d", code, n)
	}
	// A change that changes nothing on this node is no transaction: the next one is the other Service's.
	slices.Update(ctx, slice("a", discoveryv1.AddressTypeIPv4, 8080, "10.42.1.2 n3"), metav1.UpdateOptions{})
	c.CoreV1().Services("ns").Create(ctx, serviceWith(func(s *corev1.Service) { s.Name, s.Spec.ClusterIPs = "two", []string{"10.43.0.11"} }), metav1.CreateOptions{})
	expect("apply +two")
	r.disturbed <- struct{}{}
	if got := <-r.calls; got != "replace web,two" && got != "replace two,web" {
		t.Errorf("after a disturbance: %s", got)
	}
	r.mu.Lock()
	r.fail = errors.New("busy")
	r.mu.Unlock()
	c.CoreV1().Services("ns").Delete(ctx, "web", metav1.DeleteOptions{})
	expect("fail")
	expect("replace two")
	c.CoreV1().Services("ns").Delete(ctx, "two", metav1.DeleteOptions{})
	expect("apply -two")
	if err := p.Healthy(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.Shutdown()
}
