package apiserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"nau/internal/apiserver/authn"
	"nau/internal/apiserver/identity"
)

func (c *cluster) serve() *rest.Config {
	srv := httptest.NewUnstartedServer(c.Handler())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	c.t.Cleanup(srv.Close)
	return &rest.Config{Host: srv.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, BearerToken: "t", QPS: -1}
}

func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case ev, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch ended")
		}
		return ev
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	panic("")
}

// client-go is the judge of the wire: both media types, typed, dynamic and metadata clients.
func TestClientsRead(t *testing.T) {
	c := newCluster(t)
	cfg := c.serve()
	c.namespace("ns")
	ctx := context.Background()
	for _, media := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		cfg := rest.CopyConfig(cfg)
		cfg.ContentType, cfg.AcceptContentTypes = media, media+",application/json"
		k := kubernetes.NewForConfigOrDie(cfg)
		pods := k.CoreV1().Pods("ns")
		p, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "w-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
		if err != nil || len(p.Name) != 7 {
			t.Fatalf("%s: %v %q", media, err, p.Name)
		}
		w, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: p.ResourceVersion, FieldSelector: "metadata.name=" + p.Name})
		if err != nil {
			t.Fatal(err)
		}
		p.Status.Phase = corev1.PodRunning
		if p, err = pods.UpdateStatus(ctx, p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if ev := next(t, w); ev.Type != watch.Modified || ev.Object.(*corev1.Pod).ResourceVersion != p.ResourceVersion || ev.Object.(*corev1.Pod).Status.Phase != corev1.PodRunning {
			t.Fatalf("%s: %+v", media, ev)
		}
		list, err := pods.List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%s: %v %+v", media, err, list)
		}
		mw, err := metadata.NewForConfigOrDie(cfg).Resource(podsGVR).Namespace("ns").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if ev := next(t, mw); ev.Type != watch.Added || ev.Object.(*metav1.PartialObjectMetadata).Name == "" {
			t.Fatalf("%s: %+v", media, ev)
		}
		ml, err := metadata.NewForConfigOrDie(cfg).Resource(podsGVR).Namespace("ns").List(ctx, metav1.ListOptions{})
		if err != nil || len(ml.Items) != 1 || ml.Items[0].Name != p.Name {
			t.Fatalf("%s: %v %+v", media, err, ml)
		}
		if err := pods.Delete(ctx, p.Name, *metav1.NewDeleteOptions(0)); err != nil {
			t.Fatal(err)
		}
		if ev := next(t, w); ev.Type != watch.Deleted || ev.Object.(*corev1.Pod).ResourceVersion == p.ResourceVersion {
			t.Fatalf("%s: %+v", media, ev)
		}
		w.Stop()
		mw.Stop()
	}
	u, err := dynamic.NewForConfigOrDie(cfg).Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).Get(ctx, "ns", metav1.GetOptions{})
	if err != nil || u.GetKind() != "Namespace" || u.GetAPIVersion() != "v1" {
		t.Fatal(err, u)
	}
}

// Events of large objects are written in pieces; a client sees no difference, nor those that come before and after in one write.
func TestLargeEvents(t *testing.T) {
	c := newCluster(t)
	cfg := c.serve()
	c.namespace("ns")
	for i, n := range []int{10, large - 1000, 2 * large, 10, 3 * large, 10 * large} {
		c.do("POST", cmsPath, map[string]any{"metadata": map[string]any{"name": string(rune('a' + i))}, "data": map[string]string{"v": strings.Repeat("é", n/2)}}).want(201)
	}
	for _, media := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		cfg := rest.CopyConfig(cfg)
		cfg.ContentType, cfg.AcceptContentTypes = media, media
		maps := kubernetes.NewForConfigOrDie(cfg).CoreV1().ConfigMaps("ns")
		list, err := maps.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w, err := maps.Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			got, ok := next(t, w).Object.(*corev1.ConfigMap)
			if !ok || !equality.Semantic.DeepEqual(got.ObjectMeta, list.Items[i].ObjectMeta) || got.Data["v"] != list.Items[i].Data["v"] {
				t.Fatalf("%s: %s differs: %+v", media, list.Items[i].Name, got.ObjectMeta)
			}
		}
		w.Stop()
	}
	u, err := dynamic.NewForConfigOrDie(cfg).Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("ns").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=f"})
	if err != nil {
		t.Fatal(err)
	}
	if got := next(t, u).Object.(*unstructured.Unstructured); got.GetKind() != "ConfigMap" || got.GetAPIVersion() != "v1" {
		t.Errorf("a large object without its kind: %s %s", got.GetKind(), got.GetAPIVersion())
	}
	u.Stop()
}

// A watch whose client reads nothing is cut, and its place is free.
func TestUnreadWatchIsCut(t *testing.T) {
	c := newCluster(t, func(cfg *Config) {
		cfg.Authn = authn.Func(func(*http.Request) (*identity.Response, bool, error) {
			return &identity.Response{User: &identity.User{Name: "eve"}}, true, nil
		})
	})
	c.stalled = 100 * time.Millisecond
	open := func() int {
		c.long.mu.Lock()
		defer c.long.mu.Unlock()
		return c.long.open["eve"]
	}
	c.namespace("ns")
	unread := c.stream("")
	idle := c.stream("fieldSelector=metadata.name%3Dnone")
	if n := open(); n != 2 {
		t.Fatalf("%d watches", n)
	}
	for i := range 12 { // more than the windows of a client's stream hold
		c.do("POST", cmsPath, map[string]any{"metadata": map[string]any{"name": "x" + strconv.Itoa(i)}, "data": map[string]string{"v": strings.Repeat("x", 900_000)}}).want(201)
	}
	until(t, "the unread watch is cut", func() bool { return open() == 1 })
	c.do("POST", cmsPath, `{"metadata":{"name":"none"}}`).want(201)
	idle.expect("ADDED none") // nothing to read is no stall
	if _, err := io.Copy(io.Discard, unread.resp.Body); err == nil {
		t.Error("what was cut looks like an end")
	}
}

func TestInformersOfThisProcess(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	c.do("POST", "/api/v1/namespaces/ns/pods", podBody).want(201)
	lw := c.Source().ListerWatcher(podsGVR)
	inf := cache.NewSharedIndexInformer(lw, &corev1.Pod{}, 0, cache.Indexers{})
	added := make(chan *corev1.Pod, 16)
	_, _ = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) { added <- o.(*corev1.Pod) }})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go inf.Run(ctx.Done())
	wait := func() *corev1.Pod {
		select {
		case p := <-added:
			return p
		case <-time.After(10 * time.Second):
			t.Fatal("no event")
		}
		return nil
	}
	p := wait()
	e, err := c.registry.now().endpoints[podsGVR].open().Get(ctx, "ns/web", 0)
	if err != nil || runtime.Object(p) != e.Object {
		t.Fatal("the informer must hold the watch cache's own object", err)
	}
	c.do("POST", "/api/v1/namespaces/ns/pods", `{"metadata":{"name":"two"},"spec":{"containers":[{"name":"c","image":"i"}]}}`).want(201)
	if p := wait(); p.Name != "two" {
		t.Fatal(p.Name)
	}
}
