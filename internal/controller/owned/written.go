package owned

import (
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// writtenFor bounds how long a write is believed without being seen.
const writtenFor = time.Minute

// Written remembers, per key, objects that were written and that the cache does
// not show yet, and shows them in the cache's stead: a controller reads its own
// writes.
type Written[T metav1.Object] struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	keys  map[string]map[types.UID]write[T]
}

type write[T metav1.Object] struct {
	object  T
	removed bool
	at      time.Time
}

// NewWritten makes an empty memory.
func NewWritten[T metav1.Object](c clock.PassiveClock) *Written[T] {
	return &Written[T]{clock: c, keys: map[string]map[types.UID]write[T]{}}
}

// Put remembers an object as the server returned it.
func (w *Written[T]) Put(key string, object T) { w.put(key, write[T]{object: object}) }

// Remove remembers that an object was deleted.
func (w *Written[T]) Remove(key string, object T) {
	w.put(key, write[T]{object: object, removed: true})
}

func (w *Written[T]) put(key string, x write[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.at = w.clock.Now()
	if w.keys[key] == nil {
		w.keys[key] = map[types.UID]write[T]{}
	}
	w.keys[key][x.object.GetUID()] = x
}

// Gone is called when the cache has seen an object's deletion.
func (w *Written[T]) Gone(key string, object T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.keys[key], object.GetUID())
	if len(w.keys[key]) == 0 {
		delete(w.keys, key)
	}
}

// Forget drops a key.
func (w *Written[T]) Forget(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.keys, key)
}

// Over lays what was written over what the cache shows.
func (w *Written[T]) Over(key string, cached []T) []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	writes := w.keys[key]
	if len(writes) == 0 {
		return cached
	}
	var out []T
	seen := map[types.UID]bool{}
	for _, object := range cached {
		x, ok := writes[object.GetUID()]
		seen[object.GetUID()] = true
		switch {
		case !ok:
			out = append(out, object)
		case x.removed:
		case newer(x.object, object):
			out = append(out, x.object)
		default:
			delete(writes, object.GetUID())
			out = append(out, object)
		}
	}
	for uid, x := range writes {
		switch {
		case w.clock.Since(x.at) > writtenFor, x.removed && !seen[uid]:
			delete(writes, uid)
		case !seen[uid]:
			out = append(out, x.object)
		}
	}
	if len(writes) == 0 {
		delete(w.keys, key)
	}
	return out
}

// Newest is the written state of one object if the cache's is older.
func (w *Written[T]) Newest(key string, cached T) T {
	for _, object := range w.Over(key, []T{cached}) {
		if object.GetUID() == cached.GetUID() {
			return object
		}
	}
	return cached
}

// newer compares resource versions, which are ordered for objects of one kind
// (API conventions, since Kubernetes 1.35).
func newer(a, b metav1.Object) bool {
	x, err1 := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, err2 := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return err1 == nil && err2 == nil && x > y
}
