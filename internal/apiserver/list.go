package apiserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// list answers GET of a collection: an envelope around the entries' shared bytes.
func (c *call) list() error {
	o, err := c.parseListOptions(false)
	if err != nil {
		return err
	}
	page, err := c.page(o)
	if err != nil {
		return err
	}
	return c.respondPage(page)
}

// page asks the store. A selector for one name becomes a prefix that holds one key.
func (c *call) page(o listOptions) (*store.Page, error) {
	return c.ep.open().List(c.ctx, store.ListOptions{
		Prefix: c.prefix(), Revision: o.revision, Match: o.match, Limit: o.limit, Continue: o.cont,
		Labels: o.labels, Fields: o.fields,
	})
}

// prefix of the keys that a request on a collection is about.
func (c *call) prefix() string {
	if ns := c.namespace(); ns != "" {
		return ns + "/"
	}
	return ""
}

func (c *call) respondPage(page *store.Page) error {
	meta := wire.ListMeta{ResourceVersion: strconv.FormatInt(page.Revision, 10), Continue: page.Continue, Remaining: page.Remaining}
	if c.accept.As != "" {
		return c.respondTransformed(http.StatusOK, page.Entries, &meta)
	}
	ep := c.ep
	if err := ep.convertAll(page.Entries); err != nil {
		return err
	}
	if c.accept.Media == wire.Protobuf && ep.proto {
		items := make([][]byte, len(page.Entries))
		size := 0
		for i, e := range page.Entries {
			b, err := ep.message(e)
			if err != nil {
				return err
			}
			items[i] = b
			size += len(b)
		}
		return c.stream(wire.TypeProtobuf, size, func(w io.Writer) error {
			return wire.WriteProtoList(w, ep.listGVK, meta, items)
		})
	}
	size := 0
	items := make([][]byte, len(page.Entries))
	for i, e := range page.Entries {
		b, err := ep.json(e)
		if err != nil {
			return err
		}
		items[i] = b
		size += len(b)
	}
	write := func(w io.Writer) error {
		return wire.WriteJSONList(w, ep.listGVK, meta, len(items), func(i int) ([]byte, error) { return items[i], nil })
	}
	if c.accept.Media == wire.YAML || c.pretty() {
		var buf bytes.Buffer
		if err := write(&buf); err != nil {
			return err
		}
		media := c.accept.Media
		if media == wire.Protobuf {
			media = wire.JSON
		}
		doc, err := wire.Finish(bytes.TrimSuffix(buf.Bytes(), []byte("\n")), media, c.pretty())
		if err != nil {
			return err
		}
		return c.respondBytes(http.StatusOK, media.String(), doc)
	}
	return c.stream(wire.TypeJSON, size, write)
}

// convertAll has a webhook convert all entries of a page in one call and keeps what comes back, encoded.
func (ep *endpoint) convertAll(entries []*store.Entry) error {
	if ep.custom == nil || !ep.custom.ByWebhook() {
		return nil
	}
	var missing []*store.Entry
	var objs []*unstructured.Unstructured
	for _, e := range entries {
		if _, err := e.Encoded(ep.jsonForm, func(runtime.Object) ([]byte, error) { return nil, errNotEncoded }); err != nil {
			missing = append(missing, e)
			objs = append(objs, e.Object.(*unstructured.Unstructured))
		}
	}
	out, err := ep.custom.Convert(objs, ep.gvk.Version)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	for i, e := range missing {
		if _, err := e.Encoded(ep.jsonForm, func(runtime.Object) ([]byte, error) { return json.Marshal(out[i]) }); err != nil {
			return err
		}
	}
	return nil
}

var errNotEncoded = errors.New("not encoded yet")

// stream answers 200 with what write produces, about size bytes of it.
func (c *call) stream(contentType string, size int, write func(io.Writer) error) error {
	h := c.w.Header()
	h["Content-Type"] = []string{contentType}
	h["Cache-Control"] = []string{"no-cache, private"}
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	if size >= gzipFrom && c.mayCompress() {
		_ = c.compressed(http.StatusOK, write)
		return nil
	}
	c.w.WriteHeader(http.StatusOK)
	_ = write(c.w)
	return nil
}
