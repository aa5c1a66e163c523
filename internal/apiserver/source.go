package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"nau/internal/store"
)

// Source gives informers of this process the watch cache's own objects, past HTTP, codecs and copies. What it hands out is
// read only by contract.
type Source struct{ s *Server }

// Source of the server. It satisfies client.Source.
func (s *Server) Source() *Source { return &Source{s} }

// ListerWatcher lists and watches a resource in one of its served versions. Versions whose shape is not the stored one are
// converted, which copies. An unknown resource answers every call with not found.
func (s *Source) ListerWatcher(gvr schema.GroupVersionResource) cache.ListerWatcher {
	return &listerWatcher{s: s.s, gvr: gvr}
}

type listerWatcher struct {
	s   *Server
	gvr schema.GroupVersionResource
}

var _ cache.ListerWatcherWithContext = (*listerWatcher)(nil)

func (l *listerWatcher) endpoint() (*endpoint, error) {
	ep := l.s.registry.now().endpoints[l.gvr]
	if ep == nil || ep.open == nil {
		return nil, apierrors.NewNotFound(l.gvr.GroupResource(), "")
	}
	return ep, nil
}

// List returns a list whose items are shared.
func (l *listerWatcher) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), o)
}

func (l *listerWatcher) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	ep, err := l.endpoint()
	if err != nil {
		return nil, err
	}
	lo, err := ep.selectors(o)
	if err != nil {
		return nil, err
	}
	page, err := ep.open().List(ctx, lo)
	if err != nil {
		return nil, translate(err, ep.gr, "")
	}
	out := &metav1.List{ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(page.Revision, 10)}}
	list := &shared{ListMeta: out.ListMeta, items: make([]runtime.Object, len(page.Entries))}
	for i, e := range page.Entries {
		if list.items[i], err = ep.toVersion(e.Object); err != nil {
			return nil, err
		}
	}
	return list.build()
}

func (ep *endpoint) selectors(o metav1.ListOptions) (store.ListOptions, error) {
	lo := store.ListOptions{Match: store.Any}
	if o.LabelSelector != "" {
		sel, err := labels.Parse(o.LabelSelector)
		if err != nil {
			return lo, apierrors.NewBadRequest(err.Error())
		}
		lo.Labels = sel
	}
	var err error
	lo.Fields, err = ep.fieldSelector(o.FieldSelector)
	return lo, err
}

// shared is a list on its way to a reflector, which takes it apart again.
type shared struct {
	metav1.ListMeta
	items []runtime.Object
}

func (s *shared) build() (runtime.Object, error) {
	list := &metav1.List{ListMeta: s.ListMeta, Items: make([]runtime.RawExtension, len(s.items))}
	for i, o := range s.items {
		list.Items[i].Object = o
	}
	return list, nil
}

// Watch passes events on; objects are shared.
func (l *listerWatcher) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}

func (l *listerWatcher) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	ep, err := l.endpoint()
	if err != nil {
		return nil, err
	}
	lo, err := ep.selectors(o)
	if err != nil {
		return nil, err
	}
	wo := store.WatchOptions{Labels: lo.Labels, Fields: lo.Fields, Bookmarks: o.AllowWatchBookmarks}
	if o.ResourceVersion != "" {
		if wo.Since, err = strconv.ParseInt(o.ResourceVersion, 10, 64); err != nil {
			return nil, apierrors.NewBadRequest("resourceVersion: " + err.Error())
		}
	}
	if o.SendInitialEvents != nil && *o.SendInitialEvents {
		wo.Initial, wo.Bookmarks = true, true
	} else if wo.Since == 0 {
		wo.Initial = true
	}
	ctx, cancel := context.WithCancel(ctx)
	in, err := ep.open().Watch(ctx, wo)
	if err != nil {
		cancel()
		return nil, translate(watchError(err), ep.gr, "")
	}
	w := &sharedWatch{ep: ep, in: in, out: make(chan watch.Event, 128), cancel: cancel}
	go w.run(ctx)
	return w, nil
}

type sharedWatch struct {
	ep     *endpoint
	in     *store.Watcher
	out    chan watch.Event
	cancel context.CancelFunc
	once   sync.Once
}

func (w *sharedWatch) ResultChan() <-chan watch.Event { return w.out }

func (w *sharedWatch) Stop() { w.once.Do(func() { w.cancel(); w.in.Close() }) }

func (w *sharedWatch) run(ctx context.Context) {
	defer close(w.out)
	defer w.Stop()
	for {
		events, err := w.in.Next(ctx)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
				w.send(ctx, watch.Event{Type: watch.Error, Object: statusOf(translate(watchError(err), w.ep.gr, ""))})
			}
			return
		}
		for i := range events {
			ev, err := w.event(&events[i])
			if err != nil {
				w.send(ctx, watch.Event{Type: watch.Error, Object: statusOf(err)})
				return
			}
			if !w.send(ctx, ev) {
				return
			}
		}
	}
}

func (w *sharedWatch) send(ctx context.Context, ev watch.Event) bool {
	select {
	case w.out <- ev:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *sharedWatch) event(ev *store.Event) (watch.Event, error) {
	if ev.Type == store.Bookmark {
		obj := w.ep.ver.New()
		if err := markBookmark(obj, ev); err != nil {
			return watch.Event{}, err
		}
		return watch.Event{Type: watch.Bookmark, Object: obj}, nil
	}
	obj, err := w.ep.toVersion(ev.Entry.Object)
	if err != nil {
		return watch.Event{}, fmt.Errorf("convert %s: %w", ev.Entry.Key, err)
	}
	return watch.Event{Type: watch.EventType(ev.Type.String()), Object: obj}, nil
}
