// Package resourcequota keeps the status of resource quotas true: it adds up what a namespace's objects use of what each of its
// quotas limits. Admission charges quotas ahead; this controller gives back what is gone.
//
// It follows exactly the resources that some quota names, built in or custom, and keeps nothing of its own but the informers.
package resourcequota

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"nau/internal/api/usage"
	"nau/internal/controller/loop"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Discovery discovery.DiscoveryInterface
	// ListerWatcher follows a resource; objects are read only.
	ListerWatcher func(schema.GroupVersionResource) cache.ListerWatcher
	Informers     informers.SharedInformerFactory
	Clock         clock.PassiveClock // nil is the wall clock
	Log           *slog.Logger
}

// Controller is the controller. Its keys are the quotas.
type Controller struct {
	c      Config
	quotas corelisters.ResourceQuotaLister
	loop   *loop.Loop[cache.ObjectName]

	ctx     context.Context // of Run; guarded by mu
	mu      sync.Mutex
	follows map[schema.GroupResource]*follow
	freed   map[cache.ObjectName]bool   // of these something went: what is used may be lowered
	high    map[cache.ObjectName]excess // of these more is charged than is seen to be used
	running sync.WaitGroup
}

// excess is a use that may be too high, or that of an object on its way: if nobody charges the quota until then, it is the former.
type excess struct {
	version string
	until   time.Time
}

// follow is one followed resource.
type follow struct {
	indexer cache.Indexer
	synced  cache.InformerSynced
}

// later is when a quota is looked at again that names a resource which is not served: nothing announces that it is; and how long
// no charge must come for what is charged in excess to be no object on its way.
const later = 30 * time.Second

// New makes the controller.
func New(c Config) (*Controller, error) {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	i := c.Informers.Core().V1().ResourceQuotas()
	k := &Controller{c: c, quotas: i.Lister(), follows: map[schema.GroupResource]*follow{},
		freed: map[cache.ObjectName]bool{}, high: map[cache.ObjectName]excess{}}
	k.loop = loop.New("resource-quota", c.Log, k.sync)
	return k, k.loop.On(i.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { k.loop.Add(cache.MetaObjectToName(obj.(*corev1.ResourceQuota))) },
		UpdateFunc: func(old, obj any) {
			// A charge is not news; what was declared is, and so is a status that somebody else wrote.
			a, b := old.(*corev1.ResourceQuota), obj.(*corev1.ResourceQuota)
			if !equality.Semantic.DeepEqual(a.Spec, b.Spec) || !equality.Semantic.DeepEqual(b.Spec.Hard, b.Status.Hard) {
				k.loop.Add(cache.MetaObjectToName(b))
			}
		},
	})
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	k.mu.Lock()
	k.ctx = ctx
	k.mu.Unlock()
	err := k.loop.Run(ctx, 2)
	k.running.Wait()
	return err
}

func (k *Controller) sync(ctx context.Context, key cache.ObjectName) (err error) {
	quota, err := k.quotas.ResourceQuotas(key.Namespace).Get(key.Name)
	lower, freed := k.take(key, quota)
	defer func() {
		if err != nil && freed {
			k.give(key)
		}
	}()
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil && freed {
		quota, err = k.newest(ctx, key)
	}
	if err != nil || quota == nil {
		return err
	}
	objects := map[schema.GroupResource][]runtime.Object{}
	for name := range quota.Spec.Hard {
		gr, ok := usage.By(name)
		if _, have := objects[gr]; !ok || have {
			continue
		}
		f, err := k.follow(ctx, gr)
		if err != nil {
			return err
		}
		if f == nil {
			k.loop.AddAfter(key, later)
			continue
		}
		found, err := f.indexer.ByIndex(cache.NamespaceIndex, key.Namespace)
		if err != nil {
			return err
		}
		list := make([]runtime.Object, 0, len(found))
		for _, obj := range found {
			if o, ok := obj.(runtime.Object); ok {
				list = append(list, o)
			}
		}
		objects[gr] = list
	}
	status := Decide(quota, objects, k.c.Clock.Now())
	if !lower && Keep(&status, &quota.Status) {
		k.mu.Lock()
		k.high[key] = excess{quota.ResourceVersion, k.c.Clock.Now().Add(later)}
		k.mu.Unlock()
		k.loop.AddAfter(key, later)
	}
	if equality.Semantic.DeepEqual(status, quota.Status) {
		return nil
	}
	next := quota.DeepCopy()
	next.Status = status
	_, err = k.c.Client.CoreV1().ResourceQuotas(key.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write use of resource quota %s: %w", key, err)
	}
	return nil
}

// newest is the quota with what is charged now, not what we have heard of; nil if it is gone. The controller's role may list only.
func (k *Controller) newest(ctx context.Context, key cache.ObjectName) (*corev1.ResourceQuota, error) {
	list, err := k.c.Client.CoreV1().ResourceQuotas(key.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + key.Name})
	if err != nil {
		return nil, fmt.Errorf("read resource quota %s: %w", key, err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	return &list.Items[0], nil
}

// take tells whether this turn may lower what is used: something went (freed), or the excess has stood for long enough.
func (k *Controller) take(key cache.ObjectName, quota *corev1.ResourceQuota) (lower, freed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, high := k.high[key]
	freed = k.freed[key]
	lower = freed || high && quota != nil && e.version == quota.ResourceVersion && !k.c.Clock.Now().Before(e.until)
	delete(k.freed, key)
	delete(k.high, key)
	return lower, freed
}

func (k *Controller) give(key cache.ObjectName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.freed[key] = true
}

// follow begins to follow a resource, if nobody did, and waits until all of it is known; nil if it is not served.
func (k *Controller) follow(ctx context.Context, gr schema.GroupResource) (*follow, error) {
	k.mu.Lock()
	f := k.follows[gr]
	k.mu.Unlock()
	if f == nil {
		gvr, ok, err := k.served(gr)
		if err != nil || !ok {
			return nil, err
		}
		if f, err = k.start(gvr); err != nil {
			return nil, err
		}
	}
	if !cache.WaitForCacheSync(ctx.Done(), f.synced) {
		return nil, ctx.Err()
	}
	return f, nil
}

// served finds the version in which a resource is preferably served.
func (k *Controller) served(gr schema.GroupResource) (schema.GroupVersionResource, bool, error) {
	lists, err := k.c.Discovery.ServerPreferredResources()
	for _, list := range lists {
		gv, perr := schema.ParseGroupVersion(list.GroupVersion)
		if perr != nil || gv.Group != gr.Group {
			continue
		}
		for _, r := range list.APIResources {
			if r.Name == gr.Resource && r.Namespaced {
				return gv.WithResource(r.Name), true, nil
			}
		}
	}
	if err != nil && lists == nil {
		return schema.GroupVersionResource{}, false, fmt.Errorf("discover %s: %w", gr, err)
	}
	return schema.GroupVersionResource{}, false, nil
}

func (k *Controller) start(gvr schema.GroupVersionResource) (*follow, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	gr := gvr.GroupResource()
	if f := k.follows[gr]; f != nil {
		return f, nil
	}
	informer := cache.NewSharedIndexInformer(k.c.ListerWatcher(gvr), nil, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { k.touched(gr, obj, false) },
		DeleteFunc: func(obj any) { k.touched(gr, loop.Last(obj), true) },
		UpdateFunc: func(old, obj any) {
			a, ok := old.(runtime.Object)
			b, ok2 := obj.(runtime.Object)
			now := k.c.Clock.Now()
			if !ok || !ok2 || !equality.Semantic.DeepEqual(usage.Of(gr, a, now), usage.Of(gr, b, now)) || scopesMayDiffer(a, b) {
				k.touched(gr, obj, true)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", gr, err)
	}
	f := &follow{informer.GetIndexer(), informer.HasSynced}
	k.follows[gr] = f
	ctx := k.ctx
	k.running.Go(func() { informer.Run(ctx.Done()) })
	return f, nil
}

// scopesMayDiffer tells whether an update may have moved an object from one quota's scope to another's.
func scopesMayDiffer(a, b runtime.Object) bool {
	p, ok := a.(*corev1.Pod)
	q, ok2 := b.(*corev1.Pod)
	if !ok || !ok2 {
		_, claim := a.(*corev1.PersistentVolumeClaim)
		return claim
	}
	x, y := p.Spec.ActiveDeadlineSeconds, q.Spec.ActiveDeadlineSeconds
	return (x == nil) != (y == nil)
}

// touched wakes the quotas that count an object's resource. freed tells that there may be less of it: while objects only come,
// what is charged for those on their way must not be taken for excess.
func (k *Controller) touched(gr schema.GroupResource, obj any, freed bool) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	quotas, err := k.quotas.ResourceQuotas(m.GetNamespace()).List(labels.Everything())
	if err != nil {
		return
	}
	for _, q := range quotas {
		for name := range q.Spec.Hard {
			if by, ok := usage.By(name); ok && by == gr {
				key := cache.MetaObjectToName(q)
				if freed {
					k.give(key)
				}
				k.loop.Add(key)
				break
			}
		}
	}
}
