package admission

import (
	"encoding/json"
	"fmt"
	"reflect"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maxCopied bounds what the copy operations of one patch may add up to: copies of copies double. It holds for every JSON patch in
// the process, whoever applies it.
const maxCopied = 3 << 20

func init() { jsonpatch.AccumulatedCopySizeLimit = maxCopied }

// ApplyPatch applies a JSON patch (RFC 6902) to a document.
func ApplyPatch(doc, patch []byte) ([]byte, error) {
	ops, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, fmt.Errorf("read JSON patch: %w", err)
	}
	out, err := ops.Apply(doc)
	if err != nil {
		return nil, fmt.Errorf("apply JSON patch: %w", err)
	}
	return out, nil
}

// Take makes a document, of a version that the object is served in, the request's object. It tells whether that changed it.
func (r *Request) Take(doc []byte, kind schema.GroupVersionKind) (changed bool, err error) {
	var next runtime.Object
	if r.Shapes != nil {
		next, err = r.Shapes.From(doc, kind)
	} else {
		next = reflect.New(reflect.TypeOf(r.Object).Elem()).Interface().(runtime.Object)
		err = json.Unmarshal(doc, next)
	}
	if err != nil {
		return false, fmt.Errorf("read changed object: %w", err)
	}
	return r.Replace(next)
}

// Replace makes another object of the stored shape the request's.
func (r *Request) Replace(next runtime.Object) (changed bool, err error) {
	if reflect.TypeOf(next) != reflect.TypeOf(r.Object) {
		return false, fmt.Errorf("replace %T by %T: the kind may not change", r.Object, next)
	}
	if r.Shapes == nil {
		next.GetObjectKind().SetGroupVersionKind(r.Object.GetObjectKind().GroupVersionKind())
	}
	if equality.Semantic.DeepEqual(r.Object, next) {
		return false, nil
	}
	// In place: others hold the pointer.
	reflect.ValueOf(r.Object).Elem().Set(reflect.ValueOf(next).Elem())
	return true, nil
}
