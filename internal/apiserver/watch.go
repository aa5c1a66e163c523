package apiserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// A watch gathers events into one write when they come thick: a write to an HTTP/2 stream costs as much as twenty events.
const (
	// thick is the mean time between events below which they are gathered; rarer ones are sent at once.
	thick = 12 * time.Millisecond
	// gatherEvents are waited for, at the present rate, but not longer than gatherMost.
	gatherEvents = 16
	gatherMost   = 25 * time.Millisecond
	watchBuffer  = wire.Record + 4<<10
	// stalledFor is how long a client may take to read what one write brings; then the watch is cut. While a client does not
	// read, all that happens meanwhile is held for it.
	stalledFor = 30 * time.Second
)

// pace tells how long to wait between writes.
type pace struct {
	last     time.Time     // the write before
	interval time.Duration // between events, a moving average
}

// wrote takes note of a write of n events, and tells how long to wait before the next. The first events after a pause are
// sent one by one: it takes a few of them to look like a stream.
func (p *pace) wrote(n int, now time.Time) time.Duration {
	if n == 0 {
		return 0
	}
	since := min(now.Sub(p.last), 8*thick)
	p.last = now
	p.interval = (3*p.interval + since/time.Duration(n)) / 4
	if p.interval >= thick {
		return 0
	}
	return min(p.interval*gatherEvents, gatherMost)
}

// buffers are lent to watches while they write; an idle watch holds none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, watchBuffer); return &b }}

// watch streams events: shared encodings wrapped once, batches in one write.
func (c *call) watch() error {
	o, err := c.parseListOptions(true)
	if err != nil {
		return err
	}
	if name := c.info.Name; name != "" && o.fields == nil {
		// The old path /watch/…/NAME.
		if o.fields, err = c.ep.fieldSelector("metadata.name=" + name); err != nil {
			return err
		}
	}
	opts := store.WatchOptions{
		Prefix: c.prefix(), Since: o.revision, Labels: o.labels, Fields: o.fields, Bookmarks: o.bookmarks,
	}
	switch {
	case o.initial != nil:
		opts.Initial = *o.initial
		opts.Fresh = o.revision == 0 && !o.given
	case o.revision == 0:
		// Unset and 0 both mean: send what there is first.
		opts.Initial, opts.Fresh = true, !o.given
	}
	enc, err := c.watchEncoder(o)
	if err != nil {
		return err
	}

	timeout := time.Duration(o.timeout) * time.Second
	if timeout <= 0 {
		timeout = time.Duration(float64(c.srv.minWatch) * (1 + rand.Float64()))
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	defer context.AfterFunc(c.srv.life, cancel)()
	w, err := c.ep.open().Watch(ctx, opts)
	var cannot error // told in the stream, as all that goes wrong once a watch is asked for rightly
	switch {
	case err == nil:
		defer w.Close()
	case errors.Is(err, store.ErrExpired), errors.Is(err, store.ErrFutureRevision):
		cannot = err
	default:
		return err
	}

	h := c.w.Header()
	h["Content-Type"] = []string{enc.contentType()}
	h["Cache-Control"] = []string{"no-cache, private"}
	c.w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(c.w.ResponseWriter)
	_ = flush.Flush()
	fail := func(err error) {
		if b, encErr := enc.failure(nil, translate(watchError(err), c.gr(), "")); encErr == nil {
			_, _ = c.w.Write(b)
			_ = flush.Flush()
		}
	}
	cut := time.AfterFunc(c.srv.stalled, func() { _ = flush.SetWriteDeadline(time.Now()) })
	defer cut.Stop()
	if cannot != nil {
		fail(cannot)
		return nil
	}
	rate := pace{interval: 8 * thick}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		cut.Stop()
		events, err := w.Next(ctx)
		cut.Reset(c.srv.stalled)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
				fail(err)
			}
			return nil
		}
		lent := buffers.Get().(*[]byte)
		buf := (*lent)[:0]
		for i := range events {
			ev := &events[i]
			if ev.InitialEnd && o.initial == nil {
				continue // nobody asked where the initial events end
			}
			var body []byte
			if buf, body, err = enc.event(buf, ev); err != nil {
				c.srv.log.Warn("watch event lost its encoding", "resource", c.ep.gvr, "cause", err)
				return nil
			}
			if body != nil {
				for _, part := range [][]byte{buf, body} {
					if _, err := c.w.Write(part); err != nil {
						return nil
					}
				}
				buf = enc.tail(buf[:0])
			}
			for len(buf) >= wire.Record {
				if _, err := c.w.Write(buf[:wire.Record]); err != nil {
					return nil
				}
				buf = buf[:copy(buf, buf[wire.Record:])]
			}
		}
		if len(buf) > 0 {
			if _, err := c.w.Write(buf); err != nil {
				return nil
			}
		}
		if err := flush.Flush(); err != nil {
			return nil
		}
		if cap(buf) <= wire.Record+2*large {
			*lent = buf[:0]
			buffers.Put(lent)
		}
		if d := rate.wrote(len(events), time.Now()); d > 0 {
			timer.Reset(d)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func watchError(err error) error {
	var expired *store.ExpiredError
	if errors.As(err, &expired) {
		return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", expired.Revision, expired.Oldest))
	}
	if errors.Is(err, store.ErrExpired) || errors.Is(err, store.ErrSlow) {
		return apierrors.NewResourceExpired("too old resource version: " + err.Error())
	}
	return err
}

// eventEncoder writes events in one form.
type eventEncoder interface {
	contentType() string
	// event appends an event. Where that is large, its body, which is shared, is left to be written behind dst, and before tail:
	// of thousands of watches that wait for their clients to read, none has a copy of its own.
	event(dst []byte, ev *store.Event) (out, body []byte, err error)
	tail(dst []byte) []byte
	failure(dst []byte, err error) ([]byte, error)
}

func (c *call) watchEncoder(o listOptions) (eventEncoder, error) {
	media := c.accept.Media
	if media == wire.YAML {
		return nil, notAcceptable()
	}
	plain := plainEvents{ep: c.ep, media: media}
	if media == wire.Protobuf && !c.ep.proto && c.accept.As == "" {
		plain.media = wire.JSON
	}
	if c.accept.As != "" {
		return c.transformedEvents(plain)
	}
	return &plain, nil
}

// plainEvents are events of whole objects.
type plainEvents struct {
	ep    *endpoint
	media wire.Media
}

func (p *plainEvents) contentType() string { return p.media.StreamType() }

// large is the size from which on an event's body is not copied.
const large = 2 * wire.Record

func (p *plainEvents) event(dst []byte, ev *store.Event) (out, body []byte, err error) {
	if ev.Type == store.Bookmark {
		dst, err = p.bookmark(dst, ev)
		return dst, nil, err
	}
	kind := ev.Type.String()
	if p.media == wire.Protobuf {
		raw, err := p.ep.message(ev.Entry)
		if err != nil {
			return dst, nil, err
		}
		if len(raw) >= large {
			return wire.AppendProtoEventHead(dst, kind, p.ep.gvk, len(raw)), raw, nil
		}
		return wire.AppendProtoEvent(dst, kind, p.ep.gvk, raw), nil, nil
	}
	doc, err := p.ep.json(ev.Entry)
	if err != nil {
		return dst, nil, err
	}
	switch {
	case len(doc) >= large && p.ep.schemaless:
		return wire.AppendJSONEventHead(dst, kind), doc, nil
	case len(doc) >= large:
		return append(wire.AppendJSONObject(wire.AppendJSONEventHead(dst, kind), p.ep.gvk, doc[:1]), ','), doc[1:], nil
	case p.ep.schemaless:
		return wire.AppendJSONEvent(dst, kind, doc), nil, nil
	}
	return wire.AppendJSONEventOf(dst, kind, p.ep.gvk, doc), nil, nil
}

func (p *plainEvents) tail(dst []byte) []byte {
	if p.media == wire.Protobuf {
		return wire.EnvelopeTail(dst)
	}
	return append(dst, wire.JSONEventTail...)
}

func (p *plainEvents) bookmark(dst []byte, ev *store.Event) ([]byte, error) {
	obj := p.ep.ver.New()
	if err := markBookmark(obj, ev); err != nil {
		return dst, err
	}
	return p.object(dst, ev.Type.String(), obj)
}

func (p *plainEvents) object(dst []byte, kind string, obj runtime.Object) ([]byte, error) {
	if m, ok := obj.(wire.Message); ok && p.media == wire.Protobuf {
		raw, err := wire.MarshalMessage(m)
		if err != nil {
			return dst, err
		}
		return wire.AppendProtoEvent(dst, kind, p.ep.gvk, raw), nil
	}
	doc, _, err := wire.Encode(obj, p.ep.gvk, wire.JSON, false)
	if err != nil {
		return dst, err
	}
	return wire.AppendJSONEvent(dst, kind, doc[:len(doc)-1]), nil
}

func markBookmark(obj runtime.Object, ev *store.Event) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	m.SetResourceVersion(strconv.FormatInt(ev.Revision, 10))
	if ev.InitialEnd {
		m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return nil
}

func (p *plainEvents) failure(dst []byte, err error) ([]byte, error) {
	return appendFailure(dst, p.media, err)
}

func appendFailure(dst []byte, media wire.Media, err error) ([]byte, error) {
	st := statusOf(err)
	if media == wire.Protobuf {
		raw, err := wire.MarshalMessage(st)
		if err != nil {
			return dst, err
		}
		return wire.AppendProtoEvent(dst, "ERROR", statusGVK, raw), nil
	}
	doc, _, encErr := wire.Encode(st, statusGVK, wire.JSON, false)
	if encErr != nil {
		return dst, encErr
	}
	return wire.AppendJSONEvent(dst, "ERROR", doc[:len(doc)-1]), nil
}
