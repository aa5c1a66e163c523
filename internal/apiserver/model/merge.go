package model

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"

	kjson "sigs.k8s.io/json"
)

// ErrNotPlain says that a patch needs the general way: it has a list where lists merge, a directive, or meets a type with a
// form of its own.
var ErrNotPlain = errors.New("patch is not plain")

// MergePatch applies a JSON merge patch (RFC 7386) to a typed object in place, touching only what the patch names. The object
// must be the caller's alone. With strategic set, the patch is a strategic one, which is the same thing as long as it has
// neither lists nor directives; others give ErrNotPlain, as do fields that the type does not have. After an error the object
// is spoilt.
func MergePatch(obj any, patch map[string]any, strategic bool) error {
	return mergeStruct(reflect.ValueOf(obj).Elem(), patch, strategic)
}

// places are the fields of a struct by JSON name.
var places sync.Map // reflect.Type → map[string][]int

func placesOf(t reflect.Type) map[string][]int {
	if m, ok := places.Load(t); ok {
		return m.(map[string][]int)
	}
	m := map[string][]int{}
	gather(t, nil, m)
	places.Store(t, m)
	return m
}

func gather(t reflect.Type, at []int, out map[string][]int) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, inline := jsonName(f)
		if name == "-" || (!f.IsExported() && !f.Anonymous) {
			continue
		}
		path := append(append([]int(nil), at...), i)
		if inline {
			if f.Type.Kind() == reflect.Struct {
				gather(f.Type, path, out)
			}
			continue
		}
		out[name] = path
	}
}

func mergeStruct(v reflect.Value, patch map[string]any, strategic bool) error {
	fields := placesOf(v.Type())
	for name, p := range patch {
		at, ok := fields[name]
		if !ok {
			return ErrNotPlain
		}
		if err := mergeValue(v.FieldByIndex(at), p, strategic); err != nil {
			return err
		}
	}
	return nil
}

func mergeValue(v reflect.Value, p any, strategic bool) error {
	switch p := p.(type) {
	case nil:
		v.SetZero()
		return nil
	case map[string]any:
		switch ShapeOf(v.Type()) {
		case Object:
			if v.Kind() == reflect.Pointer {
				if v.IsNil() {
					v.Set(reflect.New(v.Type().Elem()))
				}
				v = v.Elem()
			}
			return mergeStruct(v, p, strategic)
		case Map:
			if v.Kind() == reflect.Map && v.Type().Elem().Kind() == reflect.String {
				return mergeStrings(v, p, strategic)
			}
		}
		return ErrNotPlain
	case []any:
		if strategic {
			return ErrNotPlain
		}
	}
	if k := ShapeOf(v.Type()); k == Object || k == Map || k == Anything || k == FreeObject {
		return ErrNotPlain
	}
	doc, err := json.Marshal(p)
	if err != nil {
		return err
	}
	fresh := reflect.New(v.Type())
	strict, err := kjson.UnmarshalStrict(doc, fresh.Interface())
	if err != nil || len(strict) > 0 {
		return ErrNotPlain // the general way says it in the general words
	}
	v.Set(fresh.Elem())
	return nil
}

// mergeStrings merges into a map of strings. Directives of a strategic patch are no entries.
func mergeStrings(v reflect.Value, p map[string]any, strategic bool) error {
	key, elem := v.Type().Key(), v.Type().Elem()
	for k, x := range p {
		if strategic && strings.HasPrefix(k, "$") {
			return ErrNotPlain
		}
		kv := reflect.ValueOf(k).Convert(key)
		switch x := x.(type) {
		case nil:
			if !v.IsNil() {
				v.SetMapIndex(kv, reflect.Value{})
			}
		case string:
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			v.SetMapIndex(kv, reflect.ValueOf(x).Convert(elem))
		default:
			return ErrNotPlain
		}
	}
	return nil
}
