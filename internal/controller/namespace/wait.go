package namespace

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// remains is what a list said about the objects of one resource that stay: a watch goes on from there.
type remains struct {
	version    string
	finalizers map[types.UID]int // how many each object waits for
}

func remainsOf(list *metav1.PartialObjectMetadataList) remains {
	r := remains{version: list.ResourceVersion, finalizers: map[types.UID]int{}}
	for i := range list.Items {
		r.finalizers[list.Items[i].UID] = len(list.Items[i].Finalizers)
	}
	return r
}

// news is what an event means to a namespace that waits.
type news int

const (
	nothing news = iota
	less         // one object less, or one that waits for less: the conditions say so, soon
	empty        // nothing of the resource is left: the deletion goes on
	blind        // the watch is over
)

// take brings r up to date by an event.
func (r *remains) take(ev watch.Event) news {
	object, ok := ev.Object.(metav1.Object)
	if !ok || ev.Type == watch.Error || ev.Type == watch.Bookmark {
		return blind
	}
	before, known := r.finalizers[object.GetUID()]
	now := len(object.GetFinalizers())
	switch {
	case ev.Type == watch.Deleted:
		delete(r.finalizers, object.GetUID())
		if len(r.finalizers) == 0 {
			return empty
		}
		return less
	case known && before <= now:
		return nothing // a pod that tells how far it is, say
	}
	r.finalizers[object.GetUID()] = now
	return less
}

const (
	soon  = time.Second     // from the first of several objects' going to the conditions' telling
	again = 2 * time.Second // after a watch that could not be had
)

// await has the namespace looked at again when something that it waits for has happened. A new look ends the wait.
func (k *Controller) await(ctx context.Context, name string, found []Found) {
	ctx, cancel := context.WithCancel(ctx)
	k.mu.Lock()
	k.waits[name] = cancel
	k.mu.Unlock()
	for _, f := range found {
		if f.Count == 0 || f.Err != nil {
			continue
		}
		k.watches.Go(func() {
			switch k.follow(ctx, name, f) {
			case empty:
				k.loop.Add(name)
			case blind:
				if ctx.Err() == nil {
					k.loop.AddAfter(name, again)
				}
			}
		})
	}
}

// awaitNoMore ends a wait.
func (k *Controller) awaitNoMore(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cancel := k.waits[name]; cancel != nil {
		cancel()
		delete(k.waits, name)
	}
}

// follow watches one resource until nothing of it is left, or it cannot see any more.
func (k *Controller) follow(ctx context.Context, name string, f Found) news {
	w, err := k.metadata.Resource(f.Resource).Namespace(name).Watch(ctx, metav1.ListOptions{ResourceVersion: f.remains.version})
	if err != nil {
		return blind
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return blind
		case ev, ok := <-w.ResultChan():
			if !ok {
				return blind
			}
			switch n := f.remains.take(ev); n {
			case less:
				k.loop.AddAfter(name, soon)
			case empty, blind:
				return n
			}
		}
	}
}
