package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type who struct{}

func as(name string) WithUser {
	return func(ctx context.Context) context.Context { return context.WithValue(ctx, who{}, name) }
}

func roundTrip(t *testing.T, ctx context.Context, method string, h http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://in-process/api?x=1", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	return (&transport{h, as("me")}).RoundTrip(req)
}

func TestUnary(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) { unary(t, method) })
	}
}

func unary(t *testing.T, method string) {
	resp, err := roundTrip(t, t.Context(), method, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X", "y")
		w.WriteHeader(http.StatusCreated)
		w.Header().Set("X", "too late")
		fmt.Fprintf(w, "%s %s %s", r.Context().Value(who{}), r.URL.Query().Get("x"), body)
	})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 201 || resp.Header.Get("X") != "y" || string(body) != "me 1 hello" || resp.ContentLength != 10 || err != nil {
		t.Errorf("%d %v %q %d %v", resp.StatusCode, resp.Header, body, resp.ContentLength, err)
	}
}

func TestStream(t *testing.T) {
	ended := make(chan struct{})
	next := make(chan string)
	resp, err := roundTrip(t, t.Context(), "GET", func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.(http.Flusher).Flush()
		for {
			select {
			case s := <-next:
				io.WriteString(w, s)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	for _, s := range []string{"one", "two"} {
		next <- s
		if n, err := resp.Body.Read(buf); string(buf[:n]) != s || err != nil {
			t.Errorf("%q %v", buf[:n], err)
		}
	}
	resp.Body.Close()
	<-ended
}

// A reader that lags holds the writer up, and large bodies arrive whole.
func TestLargeBody(t *testing.T) {
	for _, method := range []string{"GET", "DELETE"} {
		t.Run(method, func(t *testing.T) { largeBody(t, method) })
	}
}

func largeBody(t *testing.T, method string) {
	const pieces = 40
	piece := bytes.Repeat([]byte("x"), 1<<20)
	resp, err := roundTrip(t, t.Context(), method, func(w http.ResponseWriter, r *http.Request) {
		for range pieces {
			w.Write(piece)
			w.(http.Flusher).Flush()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if n != pieces<<20 || err != nil {
		t.Error(n, err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for _, method := range []string{"GET", "POST"} {
		if _, err := roundTrip(t, ctx, method, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }); err == nil {
			t.Error("no error from a handler that never answers", method)
		}
	}
	ctx, cancel = context.WithCancel(t.Context())
	resp, err := roundTrip(t, ctx, "GET", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(resp.Body); err != nil && err != context.Canceled {
		t.Error(err)
	}
	resp.Body.Close()
}

// A write costs no goroutine: its handler runs in the caller's.
func TestWritesRunInTheCallersGoroutine(t *testing.T) {
	type aborted struct{}
	var resp *http.Response
	func() {
		defer func() {
			if p := recover(); p != (aborted{}) {
				t.Errorf("recovered %v, want the handler's panic", p)
			}
		}()
		resp, _ = roundTrip(t, t.Context(), "PUT", func(http.ResponseWriter, *http.Request) { panic(aborted{}) })
	}()
	if resp != nil {
		t.Error("a response of a handler that panicked")
	}
	if _, err := roundTrip(t, t.Context(), "PUT", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }); err != io.ErrUnexpectedEOF {
		t.Errorf("aborted handler: %v", err)
	}
}

// objects is a Source over one watch per resource.
type objects struct {
	lists   map[string]runtime.Object
	watches map[string]*watch.FakeWatcher
}

func (o *objects) ListerWatcher(gvr schema.GroupVersionResource) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			return o.lists[gvr.Resource], nil
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			return o.watches[gvr.Resource], nil
		},
	}, plain{})
}

type plain struct{}

func (plain) IsWatchListSemanticsUnSupported() bool { return true }

func TestInformersShareObjects(t *testing.T) {
	src := &objects{
		lists:   map[string]runtime.Object{"pods": &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}},
		watches: map[string]*watch.FakeWatcher{"pods": watch.NewFake()},
	}
	detector := NewDetector(src)
	set, err := InProcess(http.NotFoundHandler(), as("me"), detector)
	if err != nil {
		t.Fatal(err)
	}
	lister := set.Informers.Core().V1().Pods().Lister()
	informer := set.Informers.Core().V1().Pods().Informer()
	if other, err := set.Informers.ForResource(corev1.SchemeGroupVersion.WithResource("pods")); err != nil || other.Informer() != informer {
		t.Errorf("a second informer for the same resource: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	set.Informers.StartWithContext(ctx)
	defer set.Informers.Shutdown()
	defer cancel()
	added := make(chan any, 1)
	informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) { added <- obj }})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "x", ResourceVersion: "2"}}
	src.watches["pods"].Add(pod)
	if got := <-added; got != any(pod) {
		t.Error("the informer handed out a copy")
	}
	if got, err := lister.Pods("a").List(labels.Everything()); err != nil || len(got) != 1 || got[0] != pod {
		t.Error("the lister handed out a copy", err)
	}
	if c := detector.Changed(); len(c) != 0 {
		t.Errorf("changed: %v", c)
	}
	pod.Labels = map[string]string{"oops": ""}
	if c := detector.Changed(); len(c) != 1 || c[0] != "*v1.Pod a/x at 2" {
		t.Errorf("changed: %v", c)
	}
}

// Every resource that client-go has informers for must be found under its name.
func TestEveryResource(t *testing.T) {
	for gvr := range kinds() {
		inner, err := informers.NewSharedInformerFactory(nil, 0).ForResource(gvr)
		if err != nil {
			continue
		}
		_ = inner
		f := newFactory(informers.NewSharedInformerFactory(nil, 0), &objects{})
		if _, err := f.ForResource(gvr); err != nil {
			t.Errorf("%s: %v", gvr, err)
		}
	}
	for obj, want := range map[runtime.Object]string{
		&corev1.Endpoints{}:     "endpoints",
		&appsv1.DaemonSet{}:     "daemonsets",
		&corev1.ResourceQuota{}: "resourcequotas",
	} {
		if got, err := resourceOf(obj); err != nil || got.Resource != want {
			t.Errorf("%T: %s %v", obj, got, err)
		}
	}
}

func TestRemoteIsNotThrottled(t *testing.T) {
	set, err := InProcess(http.NotFoundHandler(), as("me"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if rl := set.Kubernetes.CoreV1().RESTClient().GetRateLimiter(); rl != nil && rl.QPS() > 0 {
		t.Errorf("limited to %v", rl.QPS())
	}
}
