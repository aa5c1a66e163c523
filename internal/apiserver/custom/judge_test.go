package custom

import (
	"encoding/json"
	"strings"
	"testing"

	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

const judged = `{"metadata":{"name":"foos.x.io"},"spec":{"group":"x.io","scope":"Namespaced","names":{"plural":"foos","kind":"Foo"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object",
"required":["name"],
"x-kubernetes-validations":[{"rule":"self.n <= self.max","message":"too many"}],
"properties":{
"name":{"type":"string","maxLength":5},
"n":{"type":"integer","maximum":10,"default":0},
"max":{"type":"integer","default":5},
"even":{"type":"integer","x-kubernetes-validations":[{"rule":"self % 2 == 0","message":"odd"}]},
"set":{"type":"array","maxItems":9,"x-kubernetes-list-type":"set","items":{"type":"string"}},
"emb":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}
}}}}}}]}}`

const unchecked = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"

func foo(t *testing.T, spec string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(`{"apiVersion":"x.io/v1","kind":"Foo","metadata":{"name":"a","namespace":"b","resourceVersion":"1"},"spec":`+spec+`}`), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestJudge(t *testing.T) {
	var crd apiextv1.CustomResourceDefinition
	if err := json.Unmarshal([]byte(judged), &crd); err != nil {
		t.Fatal(err)
	}
	k, err := New(&crd, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, old, new string // old is empty for a create
		want           []string
	}{
		{name: "good", new: `{"name":"a","n":1,"max":2,"even":4,"set":["x"],"emb":{"apiVersion":"v1","kind":"X","metadata":{"labels":{"a":"b"}}}}`},
		{name: "a missing field keeps rules from being checked", new: `{"n":7,"max":2}`, want: []string{"spec.name: Required value", unchecked}},
		{name: "a long name too", new: `{"name":"abcdef","n":7,"max":2}`, want: []string{"spec.name: Too long", unchecked}},
		{name: "a large number does not", new: `{"name":"a","n":12,"max":2}`, want: []string{"spec.n: Invalid value: 12: spec.n in body should be less than or equal to 10", `spec: Invalid value: too many`}},
		{name: "an embedded object has a kind", new: `{"name":"a","n":1,"max":2,"emb":{"metadata":{"labels":{"a b":"c"}}}}`,
			want: []string{"spec.emb.apiVersion: Required value", "spec.emb.kind: Required value",
				`spec.emb.metadata.labels: Invalid value: "a b"`, unchecked}},
		{name: "old sins are forgiven", old: `{"name":"abcdefgh","n":12,"max":2,"even":3,"set":["x","x"]}`, new: `{"name":"abcdefgh","n":12,"max":2,"even":3,"set":["x","x"]}`},
		{name: "new ones are not", old: `{"name":"abcdefgh","n":1,"max":2,"even":3,"set":["x"]}`, new: `{"name":"abcdefgh","n":12,"max":22,"even":5,"set":["x","x"]}`,
			want: []string{"spec.n: Invalid value: 12", `spec.set[1]: Duplicate value: "x"`, "spec.even: Invalid value: 5: odd"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got field.ErrorList
			if c.old == "" {
				got = k.validate(foo(t, c.new))
			} else {
				got = k.validateUpdate(foo(t, c.new), foo(t, c.old))
			}
			var texts []string
			for _, e := range got {
				texts = append(texts, e.Error())
			}
			left := append([]string(nil), c.want...)
			for _, text := range texts {
				known := false
				for i, w := range left {
					if strings.HasPrefix(text, w) {
						left, known = append(left[:i:i], left[i+1:]...), true
						break
					}
				}
				if !known {
					t.Errorf("unexpected: %s", text)
				}
			}
			for _, w := range left {
				t.Errorf("missing: %s", w)
			}
		})
	}
}
