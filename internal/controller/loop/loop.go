// Package loop is what controllers have in common: informers' events become
// keys, keys wait in a queue that merges and retries them, a few workers work
// them off. It decides nothing. Controllers import it; it knows none of them.
package loop

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Loop works off keys with one function. K is what a controller calls its
// unit of work: a cache.ObjectName, a namespace, a UID.
type Loop[K comparable] struct {
	name   string
	sync   func(context.Context, K) error
	queue  workqueue.TypedRateLimitingInterface[K]
	synced []cache.DoneChecker
	log    *slog.Logger
}

// Retries of a failing key: at once at first, then ever slower.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 1000 * time.Second
)

// New makes a loop. sync brings the world in line for one key; an error has the
// key tried again, later each time.
func New[K comparable](name string, log *slog.Logger, sync func(context.Context, K) error) *Loop[K] {
	if log == nil {
		log = slog.Default()
	}
	return &Loop[K]{
		name: name, sync: sync, log: log.With("controller", name),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, lastRetry)),
	}
}

// Watch turns an informer's events into keys: keys gets the object, or for an
// update the old and then the new one, and for a deletion the last known state.
func (l *Loop[K]) Watch(informer cache.SharedIndexInformer, keys func(obj any) []K) error {
	add := func(obj any) {
		for _, key := range keys(Last(obj)) {
			l.queue.Add(key)
		}
	}
	return l.On(informer, cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(old, obj any) { add(old); add(obj) },
		DeleteFunc: add,
	})
}

// On registers a handler of the controller's own, and waits for its first list
// before work begins.
func (l *Loop[K]) On(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) error {
	registration, err := informer.AddEventHandler(handler)
	if err != nil {
		return fmt.Errorf("watch for controller %s: %w", l.name, err)
	}
	l.synced = append(l.synced, registration.HasSyncedChecker())
	return nil
}

// Needs has work wait for informers that are only read.
func (l *Loop[K]) Needs(informers ...cache.SharedIndexInformer) {
	for _, i := range informers {
		l.synced = append(l.synced, i.HasSyncedChecker())
	}
}

// Add has a key worked off soon.
func (l *Loop[K]) Add(key K) { l.queue.Add(key) }

// AddAfter has a key worked off after a while.
func (l *Loop[K]) AddAfter(key K, after time.Duration) { l.queue.AddAfter(key, after) }

// Run works with that many workers until ctx ends.
func (l *Loop[K]) Run(ctx context.Context, workers int) error {
	defer l.queue.ShutDown()
	if !cache.WaitFor(ctx, "", l.synced...) { // without polling
		return nil
	}
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for l.one(ctx) {
			}
		})
	}
	<-ctx.Done()
	l.queue.ShutDown()
	all.Wait()
	return nil
}

func (l *Loop[K]) one(ctx context.Context) bool {
	key, quit := l.queue.Get()
	if quit {
		return false
	}
	defer l.queue.Done(key)
	if err := l.sync(ctx, key); err != nil {
		if ctx.Err() == nil {
			level := slog.LevelWarn
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
				level = slog.LevelDebug // the cache was behind; the next try sees more
			}
			l.log.Log(ctx, level, "work off key, to be retried", "key", key, "error", err)
			l.queue.AddRateLimited(key)
		}
		return true
	}
	l.queue.Forget(key)
	return true
}

// Last is an object as a deletion's tombstone knew it, or the object itself.
func Last(obj any) any {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return unknown.Obj
	}
	return obj
}
