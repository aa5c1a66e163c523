package namespace

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clientgotesting "k8s.io/client-go/testing"
)

// api is a fake clientset whose discovery knows pods and config maps.
type api struct{ kubernetes.Interface }

type resources struct{ discovery.DiscoveryInterface }

func (a api) Discovery() discovery.DiscoveryInterface { return resources{a.Interface.Discovery()} }

func (resources) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	verbs := metav1.Verbs{"delete", "list", "watch"}
	return []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{
		{Name: "configmaps", Namespaced: true, Kind: "ConfigMap", Verbs: verbs}, {Name: "pods", Namespaced: true, Kind: "Pod", Verbs: verbs}}}}, nil
}

func metaOf(kind, name string, finalizers ...string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(kind + name), Finalizers: finalizers}}
}

func TestItIsWokenByWhatItWaitsFor(t *testing.T) {
	now := metav1.Now()
	kube := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", DeletionTimestamp: &now, Finalizers: []string{"held.example"}},
		Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}})
	finalized := make(chan struct{}, 1)
	kube.PrependReactor("create", "namespaces", func(a clientgotesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "finalize" {
			return false, nil, nil
		}
		select {
		case finalized <- struct{}{}:
		default:
		}
		return true, a.(clientgotesting.CreateAction).GetObject(), nil
	})
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	meta := metadatafake.NewSimpleMetadataClient(scheme, metaOf("ConfigMap", "c", "held.example"), metaOf("Pod", "p"))
	// Objects do not go by being deleted: the pod takes its time, the config map has a finalizer.
	meta.PrependReactor("delete", "*", func(clientgotesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
	watched := make(chan string, 100)
	var mu sync.Mutex
	watches, deleted := map[string][]*watch.RaceFreeFakeWatcher{}, map[string]*metav1.PartialObjectMetadata{}
	meta.PrependWatchReactor("*", func(a clientgotesting.Action) (bool, watch.Interface, error) {
		resource, w := a.GetResource().Resource, watch.NewRaceFreeFake()
		mu.Lock()
		watches[resource] = append(watches[resource], w)
		if o := deleted[resource]; o != nil { // the list that it goes on from may be older
			w.Delete(o)
		}
		mu.Unlock()
		watched <- resource
		return true, w, nil
	})
	factory := informers.NewSharedInformerFactory(kube, 0)
	k, err := New(Config{Client: api{kube}, Metadata: meta, Informers: factory, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	defer func() { cancel(); <-done }()
	factory.Start(ctx.Done())

	waits := func(want string) {
		t.Helper()
		for limit := time.After(20 * time.Second); ; {
			select {
			case got := <-watched:
				if got == want {
					return
				}
			case <-finalized:
				t.Fatalf("finalized before %s were gone", want)
			case <-limit:
				t.Fatalf("%s are not watched", want)
			}
		}
	}
	gone := func(resource string, o *metav1.PartialObjectMetadata) {
		t.Helper()
		if err := meta.Tracker().Delete(gvr("", resource), "ns", o.Name); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		deleted[resource] = o
		for _, w := range watches[resource] {
			w.Delete(o)
		}
	}
	waits("pods")
	gone("pods", metaOf("Pod", "p"))
	waits("configmaps")
	gone("configmaps", metaOf("ConfigMap", "c"))
	select {
	case <-finalized:
	case <-time.After(20 * time.Second):
		t.Fatal("not finalized")
	}
}

func TestNewsOfWhatRemains(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   watch.EventType
		object runtime.Object
		want   news
		left   int
	}{
		{"one of two goes", watch.Deleted, metaOf("Pod", "a"), less, 1},
		{"a pod tells how far it is", watch.Modified, metaOf("Pod", "a"), nothing, 2},
		{"a finalizer is off", watch.Modified, metaOf("Pod", "b", "x"), less, 2},
		{"a finalizer is on", watch.Modified, metaOf("Pod", "b", "x", "y", "z"), nothing, 2},
		{"one that was not listed", watch.Added, metaOf("Pod", "c"), less, 3},
		{"the watch fell behind", watch.Error, &metav1.Status{}, blind, 2},
	} {
		r := remainsOf(&metav1.PartialObjectMetadataList{Items: []metav1.PartialObjectMetadata{*metaOf("Pod", "a"), *metaOf("Pod", "b", "x", "y")}})
		if got := r.take(watch.Event{Type: c.kind, Object: c.object}); got != c.want || len(r.finalizers) != c.left {
			t.Errorf("%s: %v with %d left, want %v with %d", c.name, got, len(r.finalizers), c.want, c.left)
		}
	}
	r := remainsOf(&metav1.PartialObjectMetadataList{Items: []metav1.PartialObjectMetadata{*metaOf("Pod", "a")}})
	if got := r.take(watch.Event{Type: watch.Deleted, Object: metaOf("Pod", "a")}); got != empty {
		t.Errorf("the last one goes: %v", got)
	}
}
