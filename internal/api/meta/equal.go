package meta

import (
	"bytes"
	"reflect"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Equal is apimachinery's semantic equality (an empty list or map is none, 1000m is 1) for what API objects are made of, at a
// fraction of its price: parts that two objects share are not looked into. Arguments are of one type, best pointers.
func Equal(x, y any) bool {
	a, b := reflect.ValueOf(x), reflect.ValueOf(y)
	if !a.IsValid() || !b.IsValid() {
		return a.IsValid() == b.IsValid()
	}
	return a.Type() == b.Type() && equal(a, b)
}

var (
	quantityType = reflect.TypeFor[resource.Quantity]()
	timeType     = reflect.TypeFor[metav1.Time]()
	microType    = reflect.TypeFor[metav1.MicroTime]()
)

func equal(x, y reflect.Value) bool {
	switch x.Kind() {
	case reflect.String:
		return x.String() == y.String()
	case reflect.Bool:
		return x.Bool() == y.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return x.Int() == y.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return x.Uint() == y.Uint()
	case reflect.Pointer:
		if x.Pointer() == y.Pointer() {
			return true
		}
		return !x.IsNil() && !y.IsNil() && equal(x.Elem(), y.Elem())
	case reflect.Struct:
		switch x.Type() {
		case quantityType, timeType, microType:
			return apiequality.Semantic.DeepEqual(x.Interface(), y.Interface())
		}
		for i := range x.NumField() {
			if !equal(x.Field(i), y.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		n := x.Len()
		if n != y.Len() {
			return false
		}
		if n == 0 || x.Pointer() == y.Pointer() {
			return true
		}
		if x.Type().Elem().Kind() == reflect.Uint8 {
			return bytes.Equal(x.Bytes(), y.Bytes())
		}
		for i := range n {
			if !equal(x.Index(i), y.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if x.Len() != y.Len() {
			return false
		}
		if x.Len() == 0 || x.Pointer() == y.Pointer() {
			return true
		}
		for entries := x.MapRange(); entries.Next(); {
			v := y.MapIndex(entries.Key())
			if !v.IsValid() || !equal(entries.Value(), v) {
				return false
			}
		}
		return true
	}
	return x.CanInterface() && y.CanInterface() && apiequality.Semantic.DeepEqual(x.Interface(), y.Interface())
}
