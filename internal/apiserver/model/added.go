package model

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Added encodes, as FieldsV1, the set of fields that obj has beyond sample, an empty object of the same kind: what the creator
// of an object comes to own. leave names members of the object, and members of its metadata as "metadata.NAME", that are left
// out. It is the comparison of structured-merge-diff for this one case, without the set of paths in between. It declines
// (false) what is rare and has rules of its own: free JSON, repeated items, strings that JSON would escape.
func Added(sample, obj reflect.Value, leave func(name string) bool) ([]byte, bool) {
	a := adder{out: make([]byte, 0, 1024), ok: true}
	a.out = append(a.out, '{')
	some := a.beyond(sample, obj, leave, "")
	if !a.ok {
		return nil, false
	}
	if !some {
		return nil, true
	}
	return append(a.out, '}'), true
}

// place is a type where it stands: how it merges depends on the field that holds it.
type place struct {
	shape   Shape
	whole   bool            // has one owner: a scalar, an atomic list, map or struct
	keys    []string        // of the items of an associative list; none for a set
	elem    *place          // of lists and maps
	members func() []member // of structs; found at first use, for types may contain themselves
}

// member is a field of a struct.
type member struct {
	name      string // as JSON has it
	index     []int
	omitEmpty bool
	omitZero  bool
	foreign   bool // not for us
	at        *place
}

var layouts sync.Map // reflect.Type → []member

// layoutOf lists the members of a struct by name.
func layoutOf(t reflect.Type) []member {
	if l, ok := layouts.Load(t); ok {
		return l.([]member)
	}
	var out []member
	owner := Name(t)
	var walk func(t reflect.Type, at []int)
	walk = func(t reflect.Type, at []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, inline := jsonName(f)
			if name == "-" || !f.IsExported() && !f.Anonymous {
				continue
			}
			index := append(append([]int(nil), at...), i)
			if inline {
				if f.Type.Kind() == reflect.Struct {
					walk(f.Type, index)
				} else {
					out = append(out, member{foreign: true, index: index})
				}
				continue
			}
			_, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			m := member{name: name, index: index, at: placeOf(f.Type, owner, name)}
			for o := range strings.SplitSeq(opts, ",") {
				m.omitEmpty = m.omitEmpty || o == "omitempty"
				m.omitZero = m.omitZero || o == "omitzero"
			}
			out = append(out, m)
		}
	}
	walk(t, nil)
	slices.SortFunc(out, func(a, b member) int { return strings.Compare(a.name, b.name) })
	layouts.Store(t, out)
	return out
}

func placeOf(t reflect.Type, owner, field string) *place {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	p := &place{shape: ShapeOf(t)}
	switch p.shape {
	case Map:
		p.whole = AtomicField(owner, field)
		p.elem = placeOf(t.Elem(), owner, field+"[]")
	case List:
		keys, ok := Keys(owner, field)
		slices.Sort(keys)
		p.whole, p.keys = !ok, keys
		p.elem = placeOf(t.Elem(), owner, field+"[]")
	case Object:
		p.whole = AtomicField(owner, field) || AtomicType(Name(t))
		p.members = sync.OnceValue(func() []member { return layoutOf(t) })
	case Anything, FreeObject:
	default:
		p.whole = true
	}
	return p
}

// absent tells whether JSON leaves the member out.
func (m *member) absent(v reflect.Value) bool {
	if m.omitEmpty {
		switch v.Kind() {
		case reflect.Slice, reflect.Map, reflect.String, reflect.Array:
			if v.Len() == 0 {
				return true
			}
		case reflect.Struct:
		default:
			if v.IsZero() {
				return true
			}
		}
	}
	if m.omitZero {
		if t, ok := v.Interface().(metav1.Time); ok {
			return t.IsZero()
		}
		return v.IsZero()
	}
	return false
}

type adder struct {
	out []byte
	ok  bool
}

func (a *adder) decline() bool { a.ok = false; return false }

// field starts a member of the set: a comma if one is before it, its name, and the opening of its own set.
func (a *adder) field(kind byte, name string, first bool) {
	if !first {
		a.out = append(a.out, ',')
	}
	a.out = append(a.out, '"', kind, ':')
	a.out = append(a.out, name...)
	a.out = append(a.out, '"', ':', '{')
}

// beyond writes what the struct y has that x has not, and tells whether that is anything.
func (a *adder) beyond(x, y reflect.Value, leave func(string) bool, prefix string) (some bool) {
	for _, m := range layoutOf(x.Type()) {
		if m.foreign {
			return a.decline()
		}
		if leave != nil && leave(prefix+m.name) {
			continue
		}
		fx, fy := x.FieldByIndex(m.index), y.FieldByIndex(m.index)
		was, is := !m.absent(fx), !m.absent(fy)
		start := len(a.out)
		switch {
		case was && !is:
			return a.decline()
		case !is:
			continue
		case !was:
			a.field('f', m.name, !some)
			a.all(m.at, fy, false)
		case m.at.shape == Anything || m.at.shape == FreeObject || m.at.shape == Quantity:
			if !same(fx, fy) {
				return a.decline()
			}
			continue
		case m.at.whole:
			if same(fx, fy) {
				continue
			}
			if (m.at.shape == List || m.at.shape == Map) && fy.Len() == 0 {
				return a.decline() // null beside empty
			}
			if m.at.shape == Object && !differs(m.at, fx, fy) {
				return a.decline()
			}
			a.field('f', m.name, !some)
		case m.at.shape == Object && fx.Kind() == reflect.Struct:
			a.field('f', m.name, !some)
			var sub func(string) bool
			if leave != nil && prefix == "" && m.name == "metadata" {
				sub = leave
			}
			if !a.beyond(fx, fy, sub, m.name+".") {
				a.out = a.out[:start]
				if !a.ok {
					return false
				}
				continue
			}
		default: // a list or map that is null or empty in the sample, or a pointer
			if same(fx, fy) {
				continue
			}
			if m.at.shape == Object || fx.Len() != 0 || fy.Len() == 0 {
				return a.decline()
			}
			a.field('f', m.name, !some)
			a.items(m.at, fy, true)
		}
		a.out = append(a.out, '}')
		some = true
		if !a.ok {
			return false
		}
	}
	return some
}

// differs tells whether two structs surely differ in JSON.
func differs(p *place, x, y reflect.Value) bool {
	if x.Kind() != reflect.Struct {
		return false
	}
	for _, m := range p.members() {
		if m.foreign {
			return false
		}
		fx, fy := x.FieldByIndex(m.index), y.FieldByIndex(m.index)
		if m.absent(fx) != m.absent(fy) {
			return true
		}
		switch fx.Kind() {
		case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64:
			if !same(fx, fy) {
				return true
			}
		}
	}
	return false
}

// all writes the set below a value that is new as a whole; bare says that the value itself is no member of the set.
func (a *adder) all(p *place, v reflect.Value, bare bool) {
	if p.whole {
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch p.shape {
	case Map, List, Object:
		a.items(p, v, bare)
	default:
		a.decline()
	}
}

// items writes the members of a struct, map or list. Empty ones have none, and are owned like a scalar.
func (a *adder) items(p *place, v reflect.Value, bare bool) {
	first := true
	self := func() {
		if first && !bare {
			a.out = append(a.out, `".":{}`...)
			first = false
		}
	}
	switch p.shape {
	case Object:
		for _, m := range p.members() {
			if m.foreign {
				a.decline()
				return
			}
			f := v.FieldByIndex(m.index)
			if m.absent(f) {
				continue
			}
			self()
			a.field('f', m.name, first)
			first = false
			a.all(m.at, f, false)
			a.out = append(a.out, '}')
			if !a.ok {
				return
			}
		}
	case Map:
		if v.Len() == 0 {
			return
		}
		if v.Type().Key().Kind() != reflect.String {
			a.decline()
			return
		}
		names := make([]string, 0, v.Len())
		for _, k := range v.MapKeys() {
			names = append(names, k.String())
		}
		slices.Sort(names)
		self()
		for _, name := range names {
			if !plain(name) {
				a.decline()
				return
			}
			a.field('f', name, first)
			first = false
			if !p.elem.whole {
				a.all(p.elem, v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())), false)
			}
			a.out = append(a.out, '}')
			if !a.ok {
				return
			}
		}
	case List:
		if v.Len() == 0 {
			return
		}
		self()
		a.list(p, v, first)
	}
}

// item is a list's item with what it is known by.
type item struct {
	value reflect.Value
	parts []keyValue
}

// keyValue is the value of one key.
type keyValue struct {
	text   string
	number int64
	isText bool
}

func (a *adder) list(p *place, v reflect.Value, first bool) {
	items := make([]item, v.Len())
	for i := range items {
		it := v.Index(i)
		if it.Kind() == reflect.Pointer {
			if it.IsNil() {
				a.decline()
				return
			}
			it = it.Elem()
		}
		items[i].value = it
		if len(p.keys) == 0 {
			if p.elem.shape != String || it.Kind() != reflect.String || !plain(it.String()) {
				a.decline()
				return
			}
			items[i].parts = []keyValue{{text: it.String(), isText: true}}
			continue
		}
		if p.elem.shape != Object {
			a.decline()
			return
		}
		for _, key := range p.keys {
			k, ok := a.key(p.elem, it, key)
			if !ok {
				a.decline()
				return
			}
			items[i].parts = append(items[i].parts, k)
		}
	}
	slices.SortFunc(items, func(x, y item) int {
		for i := range x.parts {
			if c := x.parts[i].compare(y.parts[i]); c != 0 {
				return c
			}
		}
		return 0
	})
	for i, it := range items {
		if i > 0 && slices.Equal(it.parts, items[i-1].parts) {
			a.decline() // a repeated item has rules of its own
			return
		}
		if len(p.keys) == 0 {
			a.field('v', `\"`+it.parts[0].text+`\"`, first)
		} else {
			if !first {
				a.out = append(a.out, ',')
			}
			a.out = append(a.out, `"k:{`...)
			for j, key := range p.keys {
				if j > 0 {
					a.out = append(a.out, ',')
				}
				a.out = append(a.out, `\"`...)
				a.out = append(a.out, key...)
				a.out = append(a.out, `\":`...)
				if k := it.parts[j]; k.isText {
					a.out = append(a.out, `\"`...)
					a.out = append(a.out, k.text...)
					a.out = append(a.out, `\"`...)
				} else {
					a.out = strconv.AppendInt(a.out, k.number, 10)
				}
			}
			a.out = append(a.out, `}":{`...)
			a.all(p.elem, it.value, false)
		}
		first = false
		a.out = append(a.out, '}')
		if !a.ok {
			return
		}
	}
}

func (a *adder) key(p *place, v reflect.Value, name string) (keyValue, bool) {
	for _, m := range p.members() {
		if m.name != name || m.foreign {
			continue
		}
		f := v.FieldByIndex(m.index)
		if m.absent(f) {
			return keyValue{}, false
		}
		switch f.Kind() {
		case reflect.String:
			return keyValue{text: f.String(), isText: true}, plain(f.String())
		case reflect.Int32, reflect.Int64, reflect.Int:
			return keyValue{number: f.Int()}, true
		}
	}
	return keyValue{}, false
}

func (x keyValue) compare(y keyValue) int {
	if x.isText {
		return strings.Compare(x.text, y.text)
	}
	switch {
	case x.number < y.number:
		return -1
	case x.number > y.number:
		return 1
	}
	return 0
}

// plain strings are the same inside and outside of JSON.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
