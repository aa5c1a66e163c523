package model

import (
	"bytes"
	"reflect"
	"sync"
)

// Prune gives shallow copies of two objects of one struct type without the parts in which they are the same, so that what
// compares them afterwards pays for what differs only. Presence of what differs, and of everything around it, is kept. The
// arguments are not changed; the copies share memory with them and are to be read only.
func Prune(a, b reflect.Value) (reflect.Value, reflect.Value) {
	x, y := reflect.New(a.Type()).Elem(), reflect.New(b.Type()).Elem()
	x.Set(a)
	y.Set(b)
	prune(x, y)
	return x, y
}

// part is a field of a struct on Prune's way.
type part struct {
	index int
	inner bool // a struct of fields, or a pointer to one
}

var parts sync.Map // reflect.Type → []part

func partsOf(t reflect.Type) []part {
	if p, ok := parts.Load(t); ok {
		return p.([]part)
	}
	var out []part
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		out = append(out, part{i, inner.Kind() == reflect.Struct && ShapeOf(inner) == Object})
	}
	parts.Store(t, out)
	return out
}

// prune clears in both what is the same in both, and tells whether that was everything.
func prune(x, y reflect.Value) (all bool) {
	all = true
	for _, p := range partsOf(x.Type()) {
		fx, fy := x.Field(p.index), y.Field(p.index)
		equal := false
		switch {
		case p.inner && fx.Kind() == reflect.Struct:
			equal = prune(fx, fy)
			if equal {
				continue // cleared already, but for what is not exported
			}
		case p.inner && !fx.IsNil() && !fy.IsNil() && fx.Pointer() != fy.Pointer():
			px, py := reflect.New(fx.Type().Elem()), reflect.New(fy.Type().Elem())
			px.Elem().Set(fx.Elem())
			py.Elem().Set(fy.Elem())
			if equal = prune(px.Elem(), py.Elem()); !equal {
				fx.Set(px)
				fy.Set(py)
			}
		default:
			equal = same(fx, fy)
		}
		if equal {
			fx.SetZero()
			fy.SetZero()
			continue
		}
		all = false
	}
	return all
}

// same is reflect.DeepEqual for trees, looking at addresses first: stored objects share most of their parts. What it cannot
// look into counts as different.
func same(x, y reflect.Value) bool {
	switch x.Kind() {
	case reflect.Pointer:
		if x.Pointer() == y.Pointer() {
			return true
		}
		return !x.IsNil() && !y.IsNil() && same(x.Elem(), y.Elem())
	case reflect.Struct:
		for i := range x.NumField() {
			if !same(x.Field(i), y.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if x.Pointer() == y.Pointer() {
			return true
		}
		if x.Len() != y.Len() || x.IsNil() != y.IsNil() {
			return false
		}
		for entries := x.MapRange(); entries.Next(); {
			v := y.MapIndex(entries.Key())
			if !v.IsValid() || !same(entries.Value(), v) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if x.Len() != y.Len() || x.IsNil() != y.IsNil() {
			return false
		}
		if x.Len() == 0 || x.Pointer() == y.Pointer() {
			return true
		}
		if x.Type().Elem().Kind() == reflect.Uint8 {
			return bytes.Equal(x.Bytes(), y.Bytes())
		}
		for i := range x.Len() {
			if !same(x.Index(i), y.Index(i)) {
				return false
			}
		}
		return true
	case reflect.String:
		return x.String() == y.String()
	case reflect.Bool:
		return x.Bool() == y.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return x.Int() == y.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return x.Uint() == y.Uint()
	case reflect.Interface:
		if x.IsNil() && y.IsNil() {
			return true
		}
	}
	return x.CanInterface() && y.CanInterface() && reflect.DeepEqual(x.Interface(), y.Interface())
}
