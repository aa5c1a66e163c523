package apiserver

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/wire"
)

// decodeBody reads the request's body into a new object of kind want. Unknown and duplicate fields become an error or
// warnings, as the options say.
func (c *call) decodeBody(newObject func() runtime.Object, want schema.GroupVersionKind, o writeOptions) (runtime.Object, error) {
	media, ok := wire.ContentMedia(c.r.Header.Get("Content-Type"))
	if !ok {
		return nil, unsupportedMedia(wire.TypeJSON, wire.TypeYAML, wire.TypeProtobuf)
	}
	data, err := c.body()
	if err != nil {
		return nil, err
	}
	return c.decode(data, media, newObject, want, o)
}

func (c *call) decode(data []byte, media wire.Media, newObject func() runtime.Object, want schema.GroupVersionKind, o writeOptions) (runtime.Object, error) {
	obj := newObject()
	var found []error
	var err error
	have := schema.GroupVersionKind{}
	switch media {
	case wire.Protobuf:
		have, err = wire.DecodeProtobuf(data, obj)
	case wire.YAML:
		var doc []byte
		if doc, found, err = wire.ToJSON(data, o.strictness()); err == nil {
			var more []error
			more, err = wire.DecodeJSON(doc, obj, o.strictness())
			found = append(found, more...)
		}
		have = obj.GetObjectKind().GroupVersionKind()
	default:
		found, err = wire.DecodeJSON(data, obj, o.strictness())
		have = obj.GetObjectKind().GroupVersionKind()
	}
	if have.Kind == "" {
		have.Kind = want.Kind
	}
	if have.Version == "" {
		have.Group, have.Version = want.Group, want.Version
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", have.Kind, have.Version, want.Kind, err))
	}
	if have.GroupVersion() != want.GroupVersion() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", have.GroupVersion(), want.GroupVersion()))
	}
	if have.Kind != want.Kind {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: the kinds differ", have.Kind, have.Version, want.Kind))
	}
	if err := c.judge(found, have, want.Kind, o); err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(want)
	if err := c.settleCustom(obj, o); err != nil {
		return nil, err
	}
	return obj, nil
}

// judge makes an error or warnings of what strict decoding found.
func (c *call) judge(found []error, have schema.GroupVersionKind, kind string, o writeOptions) error {
	if len(found) == 0 {
		return nil
	}
	if o.validation == "Strict" {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", have.Kind, have.Version, kind, runtime.NewStrictDecodingError(found)))
	}
	for _, e := range found {
		c.warn(e.Error())
	}
	return nil
}

// strictErrors takes the findings out of a strict decoding error; ok is false for other errors.
func strictErrors(err error) (found []error, ok bool) {
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return nil, false
	}
	return strict.Errors(), true
}
