package expr

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"nau/internal/house/spent"
)

func env(t testing.TB, n Names) *Env {
	t.Helper()
	e, err := For(n)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWhatCompiles(t *testing.T) {
	for source, want := range map[string]string{
		`object.metadata.name == 'x'`:                                  "",
		`request.userInfo.username in ['a']`:                           "",
		`request.kind.group == 'apps' && request.dryRun`:               "",
		`authorizer.requestResource.check('breakglass').allowed()`:     "",
		`authorizer.group('').resource('pods').check('get').allowed()`: "",
		`quantity('1Gi').isGreaterThan(quantity('1Mi'))`:               "",
		`object.`:                     "compilation failed",
		`request.nothing == 'x'`:      "compilation failed",
		`params.replicas > 1`:         "undeclared reference",
		`namespaceObject.metadata.x`:  "undeclared reference",
		`'text'`:                      "must evaluate to bool",
		`variables.x`:                 "undeclared reference",
		`Object{spec: Object.spec{}}`: "undeclared reference",
	} {
		_, err := env(t, Names{Authorizer: true}).Compile(source, Bool)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", source, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}

func TestVariablesAreTypedAndComputedOnce(t *testing.T) {
	e := env(t, Names{})
	p, err := e.Compile("object.spec.replicas + 1", Any)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = e.With("more", p); err != nil {
		t.Fatal(err)
	}
	name, err := e.Compile("'abc'", Any)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = e.With("name", name); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Compile("variables.other == 1", Bool); err == nil {
		t.Error("an unknown variable compiled")
	}
	if _, err := e.Compile("variables.name == 1", Bool); err == nil {
		t.Error("a text was compared with a number")
	}
	q, err := e.Compile("variables.more == 4 && variables.more < 5 && variables.name == 'abc'", Bool)
	if err != nil {
		t.Fatal(err)
	}
	budget := PolicyBudget
	v := Values{"object": map[string]any{"spec": map[string]any{"replicas": int64(3)}}, "oldObject": nil, "request": map[string]any{}}
	v.Declare(context.Background(), "more", p, &budget)
	v.Declare(context.Background(), "name", name, &budget)
	out, err := q.Run(context.Background(), v, &budget)
	if err != nil || out.Value() != true {
		t.Errorf("%v %v", out, err)
	}
	if budget == PolicyBudget {
		t.Error("it cost nothing")
	}
}

func TestCostIsBounded(t *testing.T) {
	e := env(t, Names{})
	p, err := e.Compile("object.l.all(x, object.l.all(y, object.l.all(z, x + y + z >= 0)))", Bool)
	if err != nil {
		t.Fatal(err)
	}
	var l []any
	for i := range 1000 {
		l = append(l, int64(i))
	}
	v := Values{"object": map[string]any{"l": l}, "oldObject": nil, "request": map[string]any{}}
	budget := PolicyBudget
	if _, err := p.Run(context.Background(), v, &budget); err == nil {
		t.Error("a billion steps were paid")
	}
	q, err := e.Compile("object.l.all(x, x >= 0)", Bool)
	if err != nil {
		t.Fatal(err)
	}
	budget = 10
	if _, err := q.Run(context.Background(), v, &budget); err == nil || budget != 0 {
		t.Errorf("budget %d, %v", budget, err)
	}
}

func TestPatchesHaveTypes(t *testing.T) {
	e := env(t, Names{Patches: true})
	if _, err := e.Compile(`Object{spec: Object.spec{replicas: 3}}`, Apply); err != nil {
		t.Error(err)
	}
	if _, err := e.Compile(`[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("a/b"), value: "c"}]`, Patch); err != nil {
		t.Error(err)
	}
	if _, err := e.Compile(`Object{spec: Object.spec{replicas: 3}}`, Patch); err == nil {
		t.Error("an object passed for a patch")
	}
}

// A list that is made of a number is bounded, wherever the number comes from.
func TestRanges(t *testing.T) {
	e, err := For(Names{})
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"lists.range(0).size() == 0":                                       "true",
		"lists.range(3) == [0, 1, 2]":                                      "true",
		"lists.range(lists.range(4).size()).map(x, x * 2) == [0, 2, 4, 6]": "true",
		"lists.range(1024).size() == 1024":                                 "true",
		"lists.range(1025).size() > 0":                                     "1025 elements are more than 1024",
		"lists.range(1000000000).size() > 0":                               "1000000000 elements are more than 1024",
		"lists.range(object.n).size() > 0":                                 "9000000000 elements are more than 1024",
		"[1].all(x, lists.range(x * 1000000000).size() > 0)":               "more than 1024",
		"lists.range(object.none).size() > 0":                              "no such key",
		"lists.range(object.s).size() > 0":                                 "no such overload",
	} {
		p, err := e.Compile(source, Bool)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		budget := ConditionBudget
		out, err := p.Run(context.Background(), Values{"object": map[string]any{"n": int64(9_000_000_000), "s": "x"}}, &budget)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(out.Value())
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
		if budget == ConditionBudget {
			t.Errorf("%s cost nothing", source)
		}
	}
}

// FuzzCompile: whatever is written into an object, compiling and running it ends within its bounds, without a panic.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{"object.metadata.name == 'x'", "[1,2].all(x, x > 0)", "'a'.matches('(a+)+')", "variables", "{", "\x00", "quantity('1e')",
		"object[0][1]", "has(object.a.b)", "cidr('::/0').containsIP('::1')", strings.Repeat("(", 500)} {
		f.Add(s)
	}
	e, err := For(Names{Params: true, Namespace: true, Patches: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 2048 {
			return
		}
		spent.On(t, len(s), func() {
			p, err := e.Compile(s, Any)
			if err != nil {
				if err.Error() == "" {
					t.Error("an error without words")
				}
				return
			}
			budget := ConditionBudget
			_, _ = p.Run(context.Background(), Values{"object": map[string]any{"a": []any{int64(1), "x", nil}}, "oldObject": nil, "request": map[string]any{}, "params": nil, "namespaceObject": nil}, &budget)
		})
	})
}
