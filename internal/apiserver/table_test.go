package apiserver

import (
	"bytes"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"nau/internal/api/builtin"
	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// Every kind of the table goes into the store and back, and out in both media types, in every version that serves it.
func TestEveryKindIsStoredAndShown(t *testing.T) {
	reg := newRegistry(nil, nil)
	if err := reg.add(builtin.Table()...); err != nil {
		t.Fatal(err)
	}
	kinds := 0
	for gvr, ep := range reg.now().endpoints {
		if ep.res.Virtual {
			continue
		}
		kinds++
		obj := ep.ver.New()
		if ep.ver.Default != nil {
			ep.ver.Default(obj)
		}
		m, err := meta.Accessor(obj)
		if err != nil {
			t.Fatalf("%s: %v", gvr, err)
		}
		m.SetName("a")
		m.SetResourceVersion("7")
		stored, err := ep.toStorage(obj)
		if err != nil {
			t.Fatalf("%s: %v", gvr, err)
		}
		value, err := ep.encodeStored(stored)
		if err != nil {
			t.Fatalf("%s: %v", gvr, err)
		}
		if !bytes.HasPrefix(value, wire.Magic) {
			t.Errorf("%s: built-in kinds are stored as protobuf", gvr)
		}
		gvk, _, err := wire.OpenEnvelope(value)
		if err != nil || gvk != ep.storage {
			t.Errorf("%s: stored as %s, %v", gvr, gvk, err)
		}
		back, err := ep.Decode(value)
		if err != nil {
			t.Fatalf("%s: %v", gvr, err)
		}
		if bm, _ := meta.Accessor(back); bm.GetResourceVersion() != "" || bm.GetName() != "a" {
			t.Errorf("%s: read back %+v", gvr, bm)
		}
		ep.Stamp(back, 9)
		if _, fields := ep.Attributes(back); fields["metadata.name"] != "a" {
			t.Errorf("%s: fields %v", gvr, fields)
		}
		e := &store.Entry{Key: "a", Object: back}
		doc, err := ep.document(nil, e)
		if err != nil {
			t.Fatalf("%s: %v", gvr, err)
		}
		again := ep.ver.New()
		if _, err := wire.DecodeJSON(doc, again, wire.Report); err != nil || again.GetObjectKind().GroupVersionKind() != ep.gvk {
			t.Errorf("%s: %s: %v", gvr, doc, err)
		}
		raw, err := ep.message(e)
		if err != nil {
			t.Fatalf("%s: %v", gvr, err)
		}
		if err := ep.ver.New().(wire.Message).Unmarshal(raw); err != nil {
			t.Errorf("%s: %v", gvr, err)
		}
		tab := table{ep: ep, version: "v1"}
		if _, err := tab.document(nil, []*store.Entry{e}, nil, true); err != nil {
			t.Errorf("%s: table: %v", gvr, err)
		}
		if list := ep.ver.NewList; list == nil || !meta.IsListType(list()) {
			t.Errorf("%s: no list kind", gvr)
		}
		if !back.GetObjectKind().GroupVersionKind().Empty() {
			t.Errorf("%s: typed objects are kept without kind", gvr)
		}
	}
	if kinds < 55 {
		t.Errorf("only %d kinds", kinds)
	}
}

// Envelopes written by hand are what the libraries write.
func TestListsAndEventsDecode(t *testing.T) {
	c := newCluster(t)
	c.pods(3)
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf", "application/yaml"} {
		r := c.do("GET", "/api/v1/pods", nil, "Accept", accept).want(200)
		if r.header.Get("Content-Type") != accept {
			t.Errorf("type %s", r.header.Get("Content-Type"))
		}
	}
}
