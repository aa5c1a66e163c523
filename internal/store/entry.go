package store

import (
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Entry is one object at one revision. It is immutable and shared by every
// reader; Object must only be read.
type Entry struct {
	// Key is the key below the collection's prefix: "default/web-0".
	Key      string
	Object   runtime.Object
	Revision int64
	// Stale: the value was sealed with an older key; writing it anew, unchanged,
	// brings it under the present one.
	Stale bool

	codec Codec
	size  int // of the stored value, in bytes; 0 if it was never stored
	attrs atomic.Pointer[attributes]
	forms atomic.Pointer[form]
	// encoding serialises encoders, so that each form is made once.
	encoding sync.Mutex
}

type attributes struct {
	labels labels.Set
	fields pairs
}

// pairs are fields with their values. An entry has some ten, for its whole life: a map would take three times the memory.
type pairs []pair

type pair struct{ name, value string }

func (p pairs) find(name string) (string, bool) {
	for i := range p {
		if p[i].name == name {
			return p[i].value, true
		}
	}
	return "", false
}

// Has implements [fields.Fields].
func (p pairs) Has(name string) bool { _, ok := p.find(name); return ok }

// Get implements [fields.Fields].
func (p pairs) Get(name string) string { v, _ := p.find(name); return v }

// form is one encoding, in a list that only grows at its head, or is replaced.
type form struct {
	name  string
	bytes []byte
	next  *form
	// read: somebody asked for it again since the last turn of the house.
	read atomic.Bool
}

// Labels are the object's labels. Read only.
func (e *Entry) Labels() labels.Set { return e.attributes().labels }

// Fields are the object's selectable fields. Read only.
func (e *Entry) Fields() fields.Fields { return e.attributes().fields }

// attributes computes the sets at first use; a second, concurrent computation
// is harmless.
func (e *Entry) attributes() *attributes {
	if a := e.attrs.Load(); a != nil {
		return a
	}
	a := new(attributes)
	var named fields.Set
	a.labels, named = e.codec.Attributes(e.Object)
	a.fields = make(pairs, 0, len(named))
	for name, value := range named {
		a.fields = append(a.fields, pair{name, value})
	}
	e.attrs.Store(a)
	return a
}

// Encoded returns the entry in a form, named by the caller ("application/json",
// "watch/ADDED/protobuf"), encoded at the first call and shared from then on.
// The bytes must only be read. An error is not kept. encode must not ask the
// same entry for another form.
func (e *Entry) Encoded(name string, encode func(runtime.Object) ([]byte, error)) ([]byte, error) {
	if b := e.encoded(name); b != nil {
		return b, nil
	}
	e.encoding.Lock()
	defer e.encoding.Unlock()
	if b := e.encoded(name); b != nil {
		return b, nil
	}
	b, err := encode(e.Object)
	if err != nil {
		return nil, err
	}
	if b == nil {
		b = []byte{}
	}
	e.forms.Store(&form{name: name, bytes: b, next: e.forms.Load()})
	return b, nil
}

// Has tells whether the entry is held in that form already.
func (e *Entry) Has(name string) bool { return e.encoded(name) != nil }

func (e *Entry) encoded(name string) []byte {
	for f := e.forms.Load(); f != nil; f = f.next {
		if f.name == name {
			if !f.read.Load() {
				f.read.Store(true)
			}
			return f.bytes
		}
	}
	return nil
}

// age forgets the forms that nobody asked for again since the call before, or
// all of them, and tells how many bytes those held. They are made anew when
// somebody does.
func (e *Entry) age(all bool) (freed int) {
	if e.forms.Load() == nil || !e.encoding.TryLock() {
		return 0
	}
	defer e.encoding.Unlock()
	var kept *form
	for f := e.forms.Load(); f != nil; f = f.next {
		if f.read.Swap(false) && !all {
			kept = &form{name: f.name, bytes: f.bytes, next: kept}
		} else {
			freed += cap(f.bytes)
		}
	}
	if freed > 0 {
		e.forms.Store(kept)
	}
	return freed
}

// selects tells whether the entry matches both selectors; nil matches all.
func (e *Entry) selects(l labels.Selector, f fields.Selector) bool {
	if l != nil && !l.Matches(e.Labels()) {
		return false
	}
	if f != nil && !f.Matches(e.Fields()) {
		return false
	}
	return true
}
