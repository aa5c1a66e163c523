package apiserver

import (
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// respondEntry answers with a stored object.
func (c *call) respondEntry(code int, e *store.Entry) error {
	if c.accept.As != "" {
		return c.respondTransformed(code, []*store.Entry{e}, nil)
	}
	ep := c.ep
	if c.accept.Media == wire.Protobuf && ep.proto {
		if (c.r.Method == http.MethodPut || c.r.Method == http.MethodPatch) && !e.Has(ep.protoForm) { // who changed it reads this state once
			b, err := ep.envelope(e)
			if err != nil {
				return err
			}
			return c.respondBytes(code, wire.TypeProtobuf, b)
		}
		raw, err := ep.message(e)
		if err != nil {
			return err
		}
		buf := wire.EnvelopeHead(make([]byte, 0, len(raw)+128), ep.gvk, len(raw))
		buf = append(buf, raw...)
		return c.respondBytes(code, wire.TypeProtobuf, wire.EnvelopeTail(buf))
	}
	body, err := ep.json(e)
	if err != nil {
		return err
	}
	doc, err := ep.document(make([]byte, 0, len(body)+128), e)
	if err != nil {
		return err
	}
	media := c.accept.Media
	if media == wire.Protobuf {
		media = wire.JSON
	}
	if doc, err = wire.Finish(doc, media, c.pretty()); err != nil {
		return err
	}
	return c.respondBytes(code, media.String(), doc)
}

// respondObject answers with an object that is not stored in this form: a Status, a Scale, a review.
func (c *call) respondObject(code int, obj runtime.Object, gvk schema.GroupVersionKind) error {
	b, media, err := wire.Encode(obj, gvk, c.accept.Media, c.pretty())
	if err != nil {
		return err
	}
	return c.respondBytes(code, media.String(), b)
}

func (c *call) respondBytes(code int, contentType string, b []byte) error {
	h := c.w.Header()
	h["Content-Type"] = []string{contentType}
	h["Cache-Control"] = []string{"no-cache, private"}
	if len(b) >= gzipFrom && c.mayCompress() {
		return c.compressed(code, func(w io.Writer) error { _, err := w.Write(b); return err })
	}
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	c.w.WriteHeader(code)
	if c.r.Method == http.MethodHead {
		return nil
	}
	_, _ = c.w.Write(b) // a client that went away is nobody's error
	return nil
}

// gzipFrom is the size from which a response is worth compressing, upstream's.
const gzipFrom = 128 << 10

// mayCompress tells whether the client takes gzip and is on another machine: on the same one compression costs more than it saves.
func (c *call) mayCompress() bool {
	if !strings.Contains(c.r.Header.Get("Accept-Encoding"), "gzip") {
		return false
	}
	local, ok := c.ctx.Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	lh, _, err1 := net.SplitHostPort(local.String())
	rh, _, err2 := net.SplitHostPort(c.r.RemoteAddr)
	return err1 == nil && err2 == nil && lh != rh
}

var gzipPool = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return w
}}

func (c *call) compressed(code int, write func(io.Writer) error) error {
	h := c.w.Header()
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	h.Del("Content-Length")
	c.w.WriteHeader(code)
	gz := gzipPool.Get().(*gzip.Writer)
	gz.Reset(c.w)
	err := write(gz)
	if err == nil {
		_ = gz.Close()
	}
	gz.Reset(io.Discard)
	gzipPool.Put(gz)
	return err
}
