package wire

import (
	"bytes"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Encode encodes one object with its kind. The object is not changed. Media Protobuf falls back to JSON for objects that are
// no messages; the media that was used is returned.
func Encode(obj runtime.Object, gvk schema.GroupVersionKind, media Media, pretty bool) ([]byte, Media, error) {
	if media == Protobuf {
		if m, ok := obj.(Message); ok {
			b, err := MarshalEnvelope(m, gvk)
			return b, Protobuf, err
		}
		media = JSON
	}
	b, err := json.Marshal(obj)
	if err != nil {
		return nil, media, err
	}
	if _, free := obj.(runtime.Unstructured); !free {
		if have := obj.GetObjectKind().GroupVersionKind(); have.Empty() {
			b = AppendJSONObject(make([]byte, 0, len(b)+len(gvk.Kind)+len(gvk.Group)+48), gvk, b)
		}
	}
	b, err = Finish(b, media, pretty)
	return b, media, err
}

// Finish turns a JSON document into what is asked for: YAML, indented, or ended by a newline.
func Finish(doc []byte, media Media, pretty bool) ([]byte, error) {
	if media == YAML {
		return yaml.JSONToYAML(doc)
	}
	if pretty {
		var out bytes.Buffer
		if err := json.Indent(&out, doc, "", "  "); err != nil {
			return nil, err
		}
		doc = out.Bytes()
	}
	return append(doc, '\n'), nil
}

// Strictness says what happens to unknown and duplicate fields.
type Strictness int

// Ignore drops them, Report returns them beside the object.
const (
	Ignore Strictness = iota
	Report
)

// ToJSON turns a YAML document into JSON. In Report mode duplicate keys are returned.
func ToJSON(data []byte, strict Strictness) (doc []byte, found []error, err error) {
	doc, err = yaml.YAMLToJSON(data)
	if err != nil {
		return nil, nil, err
	}
	if strict == Report {
		if _, err := yaml.YAMLToJSONStrict(data); err != nil {
			found = append(found, err)
		}
	}
	return doc, found, nil
}

// DecodeJSON fills a typed object, or anything that sigs.k8s.io/json can fill. found are unknown and duplicate fields.
func DecodeJSON(data []byte, into any, strict Strictness) (found []error, err error) {
	if u, ok := into.(interface{ SetUnstructuredContent(map[string]any) }); ok {
		m := map[string]any{}
		if strict == Report {
			found, err = kjson.UnmarshalStrict(data, &m)
		} else {
			err = kjson.UnmarshalCaseSensitivePreserveInts(data, &m)
		}
		if err != nil {
			return nil, err
		}
		u.SetUnstructuredContent(m)
		return found, nil
	}
	if strict == Report {
		return kjson.UnmarshalStrict(data, into)
	}
	return nil, kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}

// DecodeProtobuf fills a message from an envelope and tells the kind that the envelope names.
func DecodeProtobuf(data []byte, into runtime.Object) (schema.GroupVersionKind, error) {
	gvk, raw, err := OpenEnvelope(data)
	if err != nil {
		return gvk, err
	}
	m, ok := into.(Message)
	if !ok {
		return gvk, fmt.Errorf("decode %s: the kind has no protobuf form", gvk.Kind)
	}
	return gvk, m.Unmarshal(raw)
}
