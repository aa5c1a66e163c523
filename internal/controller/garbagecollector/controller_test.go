package garbagecollector

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
)

var configmaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func run(t *testing.T, objects ...runtime.Object) (*fake.FakeMetadataClient, context.Context) {
	scheme := fake.NewTestScheme()
	metav1.AddMetaToScheme(scheme)
	client := fake.NewSimpleMetadataClient(scheme, objects...)
	var watches atomic.Int64
	client.PrependWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := client.Tracker().Watch(a.GetResource(), a.GetNamespace())
		watches.Add(1)
		return true, w, err
	})
	c, err := New(Config{
		Metadata: client,
		Discovery: &fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{Resources: []*metav1.APIResourceList{{
			GroupVersion: "v1",
			APIResources: []metav1.APIResource{
				{Name: "configmaps", Kind: "ConfigMap", Namespaced: true, Verbs: metav1.Verbs{"get", "list", "watch", "delete"}},
				{Name: "configmaps/status", Kind: "ConfigMap", Namespaced: true, Verbs: metav1.Verbs{"get"}},
				{Name: "events", Kind: "Event", Namespaced: true, Verbs: metav1.Verbs{"get", "list", "watch", "delete"}},
			},
		}}}},
		ListerWatcher: func(gvr schema.GroupVersionResource) cache.ListerWatcher {
			return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
				ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
					return client.Resource(gvr).List(ctx, o)
				},
				WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
					return client.Resource(gvr).Watch(ctx, o)
				},
			}, client)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	until(t, func() error {
		if watches.Load() < 1 {
			return fmt.Errorf("no watch yet")
		}
		return nil
	})
	return client, ctx
}

func until(t *testing.T, condition func() error) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestController(t *testing.T) {
	client, ctx := run(t,
		object("owner"), object("child", ref("owner")), object("grandchild", ref("child")),
		object("stray", ref("nobody")), object("free"), object("both", ref("owner"), ref("free")),
		deletingWith(object("leaver"), metav1.FinalizerOrphanDependents), object("orphan", ref("leaver")),
		deletingWith(object("waiter"), metav1.FinalizerDeleteDependents), object("blocker", ref("waiter", true)),
	)
	maps := client.Resource(configmaps).Namespace("a")
	gone := func(names ...string) func() error {
		return func() error {
			for _, name := range names {
				if _, err := maps.Get(ctx, name, metav1.GetOptions{}); err == nil {
					return fmt.Errorf("%s is still there", name)
				}
			}
			return nil
		}
	}
	until(t, gone("stray", "blocker"))
	until(t, func() error {
		o, err := maps.Get(ctx, "orphan", metav1.GetOptions{})
		if err != nil || len(o.OwnerReferences) != 0 {
			return fmt.Errorf("orphan: %+v %v", o, err)
		}
		for _, name := range []string{"leaver", "waiter"} {
			if o, err := maps.Get(ctx, name, metav1.GetOptions{}); err != nil || len(o.Finalizers) != 0 {
				return fmt.Errorf("%s: %+v %v", name, o, err)
			}
		}
		return nil
	})
	if err := maps.Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, gone("child", "grandchild"))
	until(t, func() error {
		o, err := maps.Get(ctx, "both", metav1.GetOptions{})
		if err != nil || len(o.OwnerReferences) != 1 || o.OwnerReferences[0].UID != "free" {
			return fmt.Errorf("both: %+v %v", o, err)
		}
		return nil
	})
}
