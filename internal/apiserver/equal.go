package apiserver

import (
	"bytes"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/apiserver/wire"
)

// equalObjects tells whether two objects of one kind are stored as the same bytes.
func equalObjects(a, b runtime.Object) (bool, error) {
	am, ok1 := a.(wire.Message)
	bm, ok2 := b.(wire.Message)
	if !ok1 || !ok2 || reflect.TypeOf(a) != reflect.TypeOf(b) {
		return equality.Semantic.DeepEqual(a, b), nil
	}
	if am.Size() != bm.Size() {
		return false, nil
	}
	x, err := wire.MarshalMessage(am)
	if err != nil {
		return false, err
	}
	y, err := wire.MarshalMessage(bm)
	if err != nil {
		return false, err
	}
	return bytes.Equal(x, y), nil
}
