package apiserver

import (
	"bytes"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	apimeta "nau/internal/api/meta"
	"nau/internal/apiserver/wire"
)

// equalObjects tells whether two objects of one kind are stored as the same bytes.
func equalObjects(a, b runtime.Object) (bool, error) {
	am, ok1 := a.(wire.Message)
	bm, ok2 := b.(wire.Message)
	if !ok1 || !ok2 || reflect.TypeOf(a) != reflect.TypeOf(b) {
		return equality.Semantic.DeepEqual(a, b), nil
	}
	if !apimeta.Equal(a, b) {
		return false, nil // nearly always, and cheaper to see than to encode both
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
