package api

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The adapters below are the one place where a declaration goes from a kind's own type to
// runtime.Object: kinds write typed functions, the table holds untyped ones. A wrong type is a bug of
// the caller and panics with the two types' names.

// Each adapts a function on one object (defaults, PrepareCreate).
func Each[T runtime.Object](f func(T)) func(runtime.Object) {
	return func(o runtime.Object) { f(o.(T)) }
}

// Change adapts a function on the new and the old object (PrepareUpdate).
func Change[T runtime.Object](f func(new, old T)) func(new, old runtime.Object) {
	return func(n, o runtime.Object) { f(n.(T), o.(T)) }
}

// Check adapts a validation of one object.
func Check[T runtime.Object](f func(T) field.ErrorList) func(runtime.Object) field.ErrorList {
	return func(o runtime.Object) field.ErrorList { return f(o.(T)) }
}

// CheckChange adapts a validation of a change.
func CheckChange[T runtime.Object](f func(new, old T) field.ErrorList) func(new, old runtime.Object) field.ErrorList {
	return func(n, o runtime.Object) field.ErrorList { return f(n.(T), o.(T)) }
}

// Warn adapts a function that returns warnings; old is the zero T on create.
func Warn[T runtime.Object](f func(new, old T) []string) func(new, old runtime.Object) []string {
	return func(n, o runtime.Object) []string {
		if o == nil {
			var none T
			return f(n.(T), none)
		}
		return f(n.(T), o.(T))
	}
}

// Convert adapts a conversion that cannot fail.
func Convert[F, T runtime.Object](f func(F) T) func(runtime.Object) (runtime.Object, error) {
	return func(o runtime.Object) (runtime.Object, error) { return f(o.(F)), nil }
}

// ConvertOrFail adapts a conversion that may fail.
func ConvertOrFail[F, T runtime.Object](f func(F) (T, error)) func(runtime.Object) (runtime.Object, error) {
	return func(o runtime.Object) (runtime.Object, error) {
		out, err := f(o.(F))
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// New adapts a constructor.
func New[T any, P interface {
	*T
	runtime.Object
}]() func() runtime.Object {
	return func() runtime.Object { return P(new(T)) }
}
