// Package scheme turns objects into bytes and back: it knows all built-in types (k8s.io/api, CRDs,
// APIServices, meta kinds) and their JSON, YAML and protobuf forms. It neither defaults nor converts;
// that is the resource table's. The API server, the store's codecs and tests import it.
package scheme

import (
	"bytes"
	"fmt"
	"mime"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// The media types that bodies come in.
const (
	JSON     = "application/json"
	YAML     = "application/yaml"
	Protobuf = "application/vnd.kubernetes.protobuf"
)

// Scheme maps all built-in kinds to Go types. It is complete once this package is initialised and
// must not be changed.
var Scheme = build()

// ParameterCodec reads and writes list, delete and connect options as query parameters.
var ParameterCodec = runtime.NewParameterCodec(Scheme)

func build() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientscheme.AddToScheme(s))
	// apiextensions and apiregistration register defaulting functions too, which nobody calls here.
	utilruntime.Must(apiextensionsv1.AddToScheme(s))
	utilruntime.Must(apiregistrationv1.AddToScheme(s))
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	metav1.AddToGroupVersion(s, metav1.SchemeGroupVersion)
	utilruntime.Must(metav1.AddMetaToScheme(s))
	utilruntime.Must(registerOptions(s))
	return s
}

var (
	jsonPlain    = json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{StreamingCollectionsEncoding: true})
	jsonPretty   = json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{Pretty: true})
	jsonStrict   = json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{Strict: true})
	yamlPlain    = json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{Yaml: true})
	yamlStrict   = json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{Yaml: true, Strict: true})
	protobufCode = protobuf.NewSerializerWithOptions(Scheme, Scheme, protobuf.SerializerOptions{StreamingCollectionsEncoding: true})
)

// ForMediaType finds the serializer of a Content-Type or Accept value; parameters are ignored. A strict
// one returns unknown and duplicate fields as runtime.StrictDecodingError beside the decoded object;
// protobuf has no unknown fields to report. false means the media type is not supported.
func ForMediaType(mediaType string, strict bool) (runtime.Serializer, bool) {
	name, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		return nil, false
	}
	switch name {
	case JSON:
		if strict {
			return jsonStrict, true
		}
		return jsonPlain, true
	case YAML:
		if strict {
			return yamlStrict, true
		}
		return yamlPlain, true
	case Protobuf:
		return protobufCode, true
	}
	return nil, false
}

// Pretty is the indented JSON form.
func Pretty() runtime.Serializer { return jsonPretty }

// EncodeStorage makes the bytes that etcd holds: protobuf with the k8s\0 prefix and the given kind,
// which it sets on obj. The object must have the storage shape.
func EncodeStorage(obj runtime.Object, gvk schema.GroupVersionKind) ([]byte, error) {
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	var b bytes.Buffer
	if err := protobufCode.Encode(obj, &b); err != nil {
		return nil, fmt.Errorf("encode %s: %w", gvk.Kind, err)
	}
	return b.Bytes(), nil
}

// DecodeStorage reads bytes that etcd holds, protobuf or JSON (an upstream snapshot may hold either),
// into obj. The type is obj's; a stored kind that differs is an error.
func DecodeStorage(data []byte, into runtime.Object) error {
	var s runtime.Serializer = jsonPlain
	if bytes.HasPrefix(data, protobufPrefix) {
		s = protobufCode
	}
	out, gvk, err := s.Decode(data, nil, into)
	if err != nil {
		return fmt.Errorf("decode stored object: %w", err)
	}
	if out != into {
		return fmt.Errorf("decode stored object: it is a %s, not a %T", gvk, into)
	}
	return nil
}

var protobufPrefix = []byte{'k', '8', 's', 0}

// Kinds returns the kinds an object's Go type is registered for.
func Kinds(obj runtime.Object) ([]schema.GroupVersionKind, error) {
	gvks, _, err := Scheme.ObjectKinds(obj)
	return gvks, err
}
