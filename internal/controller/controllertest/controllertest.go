// Package controllertest runs a controller over client-go's in-memory API, with the
// little that a real server does to new objects. Tests of controllers import it.
package controllertest

import (
	"context"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// Env is an API with a running controller.
type Env struct {
	T         *testing.T
	Ctx       context.Context
	Client    *fake.Clientset
	Informers informers.SharedInformerFactory

	watches atomic.Int64
}

// Runner is any controller.
type Runner interface {
	Run(ctx context.Context) error
}

// New makes an API that holds objects.
func New(t *testing.T, objects ...runtime.Object) *Env {
	t.Helper()
	client := fake.NewClientset(objects...)
	var n atomic.Int64
	client.PrependReactor("create", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		obj := a.(clienttesting.CreateAction).GetObject()
		if m, err := meta.Accessor(obj); err == nil {
			i := n.Add(1)
			if m.GetName() == "" && m.GetGenerateName() != "" {
				m.SetName(fmt.Sprintf("%s%05d", m.GetGenerateName(), i))
			}
			if m.GetUID() == "" {
				m.SetUID(types.UID(fmt.Sprintf("made-%d", i)))
			}
		}
		return false, nil, nil
	})
	// A status update keeps its hands off the spec.
	client.PrependReactor("update", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u := a.(clienttesting.UpdateAction)
		if u.GetSubresource() != "status" {
			return false, nil, nil
		}
		m, err := meta.Accessor(u.GetObject())
		if err != nil {
			return true, nil, err
		}
		now, err := client.Tracker().Get(a.GetResource(), a.GetNamespace(), m.GetName())
		if err != nil {
			return true, nil, err
		}
		now = now.DeepCopyObject()
		from, to := reflect.ValueOf(u.GetObject()).Elem(), reflect.ValueOf(now).Elem()
		to.FieldByName("Status").Set(from.FieldByName("Status"))
		return true, now, client.Tracker().Update(a.GetResource(), now, a.GetNamespace())
	})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	e := &Env{T: t, Ctx: ctx, Client: client, Informers: informers.NewSharedInformerFactory(client, 0)}
	client.PrependWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := client.Tracker().Watch(a.GetResource(), a.GetNamespace())
		e.watches.Add(1)
		return true, w, err
	})
	return e
}

// Run starts the controller and its informers; they end with the test.
func (e *Env) Run(c Runner, err error) {
	e.T.Helper()
	if err != nil {
		e.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(e.Ctx)
	e.Informers.StartWithContext(ctx)
	// The in-memory API loses what is written between list and watch.
	synced := e.Informers.WaitForCacheSyncWithContext(ctx)
	if synced.Err != nil {
		e.T.Fatal(synced.Err)
	}
	e.Until(func() error {
		if n := e.watches.Load(); n < int64(len(synced.Synced)) {
			return fmt.Errorf("%d watches for %d informers", n, len(synced.Synced))
		}
		return nil
	})
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	e.T.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			e.T.Error(err)
		}
		e.Informers.Shutdown()
	})
}

// Until waits for a condition; its error tells what is missing.
func (e *Env) Until(condition func() error) {
	e.T.Helper()
	deadline := time.After(10 * time.Second)
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			e.T.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}
