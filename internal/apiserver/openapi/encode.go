package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/google/gnostic-models/compiler"
	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	yaml "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	objectMetaType = reflect.TypeFor[metav1.ObjectMeta]()
	listMetaType   = reflect.TypeFor[metav1.ListMeta]()
)

// JSON encodes a document.
func JSON(doc map[string]any) ([]byte, error) { return json.Marshal(doc) }

// ProtoV2 encodes an OpenAPI 2 document as gnostic's protobuf message, the form that client-go's discovery asks for.
func ProtoV2(doc map[string]any) ([]byte, error) {
	root := node(doc)
	m, err := openapi_v2.NewDocument(root, compiler.NewContext("$root", root, nil))
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI 2: %w", err)
	}
	return proto.Marshal(m)
}

// ProtoV3 is ProtoV2 for OpenAPI 3.
func ProtoV3(doc map[string]any) ([]byte, error) {
	root := node(doc)
	m, err := openapi_v3.NewDocument(root, compiler.NewContext("$root", root, nil))
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI 3: %w", err)
	}
	return proto.Marshal(m)
}

// node is the document as the YAML tree that gnostic reads, without the detour over text.
func node(v any) *yaml.Node {
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			n.Content = append(n.Content, text(k), node(v[k]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, x := range v {
			n.Content = append(n.Content, node(x))
		}
		return n
	case string:
		return text(v)
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
	case float64:
		if v == float64(int64(v)) {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(int64(v), 10)}
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: strconv.FormatFloat(v, 'g', -1, 64)}
	case int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v, 10)}
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
	return text(fmt.Sprint(v))
}

func text(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}
