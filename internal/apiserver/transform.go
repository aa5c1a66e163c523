package apiserver

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"

	"nau/internal/api"
	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

var (
	metaGVK     = schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: "PartialObjectMetadata"}
	metaListGVK = schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: "PartialObjectMetadataList"}
)

// transformable tells which forms beside the object itself clients may ask for (API docs, "Receiving resources as Tables",
// "Metadata-only fetches").
func transformable(as, group, version string) bool {
	if group != "meta.k8s.io" || (version != "v1" && version != "v1beta1") {
		return false
	}
	return as == "Table" || as == "PartialObjectMetadata" || as == "PartialObjectMetadataList"
}

// respondTransformed answers with entries as a table or as metadata. list is nil for a single object.
func (c *call) respondTransformed(code int, entries []*store.Entry, list *wire.ListMeta) error {
	if c.accept.As == "Table" {
		return c.respondTable(code, entries, list)
	}
	ep, proto := c.ep, c.accept.Media == wire.Protobuf
	if list == nil && c.accept.As == "PartialObjectMetadataList" || list != nil && c.accept.As == "PartialObjectMetadata" {
		return notAcceptable()
	}
	if list == nil {
		if proto {
			raw, err := ep.metaMessage(entries[0])
			if err != nil {
				return err
			}
			buf := wire.EnvelopeHead(nil, metaGVK, len(raw))
			return c.respondBytes(code, wire.TypeProtobuf, wire.EnvelopeTail(append(buf, raw...)))
		}
		doc, err := ep.metaJSON(entries[0])
		if err != nil {
			return err
		}
		out, err := wire.Finish(append([]byte(nil), doc...), c.accept.Media, c.pretty())
		if err != nil {
			return err
		}
		return c.respondBytes(code, c.accept.Media.String(), out)
	}
	items := make([][]byte, len(entries))
	size := 0
	for i, e := range entries {
		var err error
		if proto {
			items[i], err = ep.metaMessage(e)
		} else {
			items[i], err = ep.metaJSON(e)
		}
		if err != nil {
			return err
		}
		size += len(items[i])
	}
	if proto {
		return c.stream(wire.TypeProtobuf, size, func(w io.Writer) error { return wire.WriteProtoList(w, metaListGVK, *list, items) })
	}
	return c.stream(wire.TypeJSON, size, func(w io.Writer) error {
		return wire.WriteJSONList(w, metaListGVK, *list, len(items), func(i int) ([]byte, error) { return items[i], nil })
	})
}

func partial(o runtime.Object) (*metav1.PartialObjectMetadata, error) {
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	return meta.AsPartialObjectMetadata(m), nil
}

// metaJSON is the entry as PartialObjectMetadata, made once.
func (ep *endpoint) metaJSON(e *store.Entry) ([]byte, error) {
	return e.Encoded("meta/json", func(o runtime.Object) ([]byte, error) {
		p, err := partial(o)
		if err != nil {
			return nil, err
		}
		p.TypeMeta = metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}
		return json.Marshal(p)
	})
}

func (ep *endpoint) metaMessage(e *store.Entry) ([]byte, error) {
	return e.Encoded("meta/proto", func(o runtime.Object) ([]byte, error) {
		p, err := partial(o)
		if err != nil {
			return nil, err
		}
		return wire.MarshalMessage(p)
	})
}

// table lays entries out as `kubectl get` shows them.
type table struct {
	ep      *endpoint
	include metav1.IncludeObjectPolicy
	now     time.Time
	version string
}

func (c *call) table() (*table, error) {
	t := &table{ep: c.ep, now: c.srv.clock(), include: metav1.IncludeMetadata, version: c.accept.Version}
	switch v := metav1.IncludeObjectPolicy(c.query.Get("includeObject")); v {
	case "":
	case metav1.IncludeNone, metav1.IncludeMetadata, metav1.IncludeObject:
		t.include = v
	default:
		return nil, apierrors.NewBadRequest("unrecognized includeObject value: \"" + string(v) + "\"")
	}
	return t, nil
}

var plainColumns = []api.Column{
	{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"], Value: func(o runtime.Object, _ time.Time) any {
		m, err := meta.Accessor(o)
		if err != nil {
			return nil
		}
		return m.GetName()
	}},
	{Name: "Age", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], Value: func(o runtime.Object, now time.Time) any {
		m, err := meta.Accessor(o)
		if err != nil {
			return nil
		}
		if t := m.GetCreationTimestamp(); !t.IsZero() {
			return duration.HumanDuration(now.Sub(t.Time))
		}
		return "<unknown>"
	}},
}

func (t *table) columns() []api.Column {
	if len(t.ep.ver.Columns) > 0 {
		return t.ep.ver.Columns
	}
	if len(t.ep.res.Columns) > 0 {
		return t.ep.res.Columns
	}
	return plainColumns
}

func (t *table) definitions() ([]byte, error) {
	var defs []metav1.TableColumnDefinition
	for _, c := range t.columns() {
		defs = append(defs, metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority})
	}
	return json.Marshal(defs)
}

func (t *table) row(dst []byte, e *store.Entry) ([]byte, error) {
	cells := make([]any, 0, 8)
	obj := e.Object
	if len(t.ep.ver.Columns) > 0 {
		var err error
		if obj, err = t.ep.toVersion(obj); err != nil {
			return dst, err
		}
	}
	for _, c := range t.columns() {
		cells = append(cells, c.Value(obj, t.now))
	}
	b, err := json.Marshal(cells)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `{"cells":`...)
	dst = append(dst, b...)
	switch t.include {
	case metav1.IncludeObject:
		dst = append(dst, `,"object":`...)
		if dst, err = t.ep.document(dst, e); err != nil {
			return dst, err
		}
	case metav1.IncludeMetadata:
		doc, err := t.ep.metaJSON(e)
		if err != nil {
			return dst, err
		}
		dst = append(dst, `,"object":`...)
		dst = append(dst, doc...)
	default:
		dst = append(dst, `,"object":null`...)
	}
	return append(dst, '}'), nil
}

// document is a whole Table; definitions may be left out (all watch events but the first).
func (t *table) document(dst []byte, entries []*store.Entry, list *wire.ListMeta, definitions bool) ([]byte, error) {
	dst = append(dst, `{"kind":"Table","apiVersion":"meta.k8s.io/`...)
	dst = append(dst, t.version...)
	dst = append(dst, `","metadata":{`...)
	if list != nil {
		dst = append(dst, `"resourceVersion":`...)
		dst = strconv.AppendQuote(dst, list.ResourceVersion)
		if list.Continue != "" {
			dst = append(dst, `,"continue":`...)
			dst = strconv.AppendQuote(dst, list.Continue)
		}
		if list.Remaining != nil {
			dst = append(dst, `,"remainingItemCount":`...)
			dst = strconv.AppendInt(dst, *list.Remaining, 10)
		}
	} else if len(entries) == 1 {
		dst = append(dst, `"resourceVersion":"`...)
		dst = strconv.AppendInt(dst, entries[0].Revision, 10)
		dst = append(dst, '"')
	}
	dst = append(dst, `},"columnDefinitions":`...)
	if definitions {
		defs, err := t.definitions()
		if err != nil {
			return dst, err
		}
		dst = append(dst, defs...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"rows":[`...)
	for i, e := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = t.row(dst, e); err != nil {
			return dst, err
		}
	}
	return append(dst, "]}"...), nil
}

func (c *call) respondTable(code int, entries []*store.Entry, list *wire.ListMeta) error {
	t, err := c.table()
	if err != nil {
		return err
	}
	doc, err := t.document(make([]byte, 0, 1024+512*len(entries)), entries, list, true)
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

// transformedEvents makes the encoder of a watch on tables or metadata.
func (c *call) transformedEvents(plain plainEvents) (eventEncoder, error) {
	if c.accept.As == "Table" {
		t, err := c.table()
		if err != nil {
			return nil, err
		}
		return &tableEvents{table: t, clock: c.srv.clock}, nil
	}
	return &metaEvents{ep: c.ep, media: plain.media}, nil
}

type tableEvents struct {
	table   *table
	clock   func() time.Time
	started bool
}

func (t *tableEvents) contentType() string { return wire.TypeJSON }

func (t *tableEvents) event(dst []byte, ev *store.Event) (out, body []byte, err error) {
	t.table.now = t.clock()
	e := ev.Entry
	if ev.Type == store.Bookmark {
		obj := t.table.ep.ver.New()
		if err := markBookmark(obj, ev); err != nil {
			return dst, nil, err
		}
		e = &store.Entry{Object: obj, Revision: ev.Revision}
	}
	doc, err := t.table.document(nil, []*store.Entry{e}, nil, !t.started)
	if err != nil {
		return dst, nil, err
	}
	t.started = true
	return wire.AppendJSONEvent(dst, ev.Type.String(), doc), nil, nil
}

func (*tableEvents) tail(dst []byte) []byte { return dst } // nothing is left out

func (t *tableEvents) failure(dst []byte, err error) ([]byte, error) {
	return appendFailure(dst, wire.JSON, err)
}

type metaEvents struct {
	ep    *endpoint
	media wire.Media
}

func (m *metaEvents) contentType() string { return m.media.StreamType() }

func (m *metaEvents) event(dst []byte, ev *store.Event) (out, body []byte, err error) {
	e := ev.Entry
	if ev.Type == store.Bookmark {
		obj := &metav1.PartialObjectMetadata{}
		if err := markBookmark(obj, ev); err != nil {
			return dst, nil, err
		}
		e = &store.Entry{Object: obj, Revision: ev.Revision}
	}
	if m.media == wire.Protobuf {
		raw, err := m.ep.metaMessage(e)
		if err != nil {
			return dst, nil, err
		}
		return wire.AppendProtoEvent(dst, ev.Type.String(), metaGVK, raw), nil, nil
	}
	doc, err := m.ep.metaJSON(e)
	if err != nil {
		return dst, nil, err
	}
	return wire.AppendJSONEvent(dst, ev.Type.String(), doc), nil, nil
}

func (*metaEvents) tail(dst []byte) []byte { return dst } // nothing is left out

func (m *metaEvents) failure(dst []byte, err error) ([]byte, error) {
	return appendFailure(dst, m.media, err)
}
