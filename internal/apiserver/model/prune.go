package model

import "reflect"

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

func prune(x, y reflect.Value) {
	t := x.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		fx, fy := x.Field(i), y.Field(i)
		if same(fx, fy) {
			fx.SetZero()
			fy.SetZero()
			continue
		}
		switch {
		case f.Type.Kind() == reflect.Struct && ShapeOf(f.Type) == Object:
			prune(fx, fy)
		case f.Type.Kind() == reflect.Pointer && ShapeOf(f.Type) == Object && !fx.IsNil() && !fy.IsNil():
			px, py := Prune(fx.Elem(), fy.Elem())
			fx.Set(px.Addr())
			fy.Set(py.Addr())
		}
	}
}

// same is reflect.DeepEqual that looks at addresses first: stored objects share most of their parts.
func same(x, y reflect.Value) bool {
	switch x.Kind() {
	case reflect.Pointer, reflect.Map:
		if x.Pointer() == y.Pointer() {
			return true
		}
	case reflect.Slice:
		if x.Len() == y.Len() && (x.IsNil() == y.IsNil()) && (x.Len() == 0 || x.Pointer() == y.Pointer()) {
			return true
		}
	case reflect.String:
		return x.String() == y.String()
	case reflect.Bool:
		return x.Bool() == y.Bool()
	case reflect.Int, reflect.Int32, reflect.Int64:
		return x.Int() == y.Int()
	}
	return reflect.DeepEqual(x.Interface(), y.Interface())
}
