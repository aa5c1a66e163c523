package buildkit

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
	"nau/internal/house/spent"
)

func TestParse(t *testing.T) {
	one := "1"
	for _, c := range []struct {
		name  string
		attrs map[string]string
		check func(o options) any
		want  any
	}{
		{"nothing", nil, func(o options) any { return []string{o.Filename, o.ContextKey, o.FileKey} }, []string{"Dockerfile", "context", "dockerfile"}},
		{"arguments and labels", map[string]string{"build-arg:A": "1", "label:l": "v"}, func(o options) any { return []any{o.Args, o.Labels} },
			[]any{map[string]*string{"A": &one}, map[string]string{"l": "v"}}},
		{"no cache", map[string]string{"no-cache": ""}, func(o options) any { return []any{o.NoCache, len(o.Fresh)} }, []any{true, 0}},
		{"no cache for some", map[string]string{"no-cache": "a,b"}, func(o options) any { return []any{o.NoCache, o.Fresh} }, []any{false, []string{"a", "b"}}},
		{"platforms", map[string]string{"platform": "linux/amd64,linux/arm64"}, func(o options) any { return []any{o.Platforms, o.Multi} }, []any{[]string{"linux/amd64", "linux/arm64"}, true}},
		{"a context with its own Dockerfile", map[string]string{"context": "https://h/a.tar"}, func(o options) any { return []string{o.Remote, o.FileKey} }, []string{"https://h/a.tar", ""}},
		{"a context, and a Dockerfile of the client", map[string]string{"context": "https://h/a.tar", "dockerfilekey": "dockerfile"}, func(o options) any { return o.FileKey }, "dockerfile"},
		{"further contexts", map[string]string{"context:Base": "docker-image://x"}, func(o options) any { return o.Contexts }, map[string]string{"base": "docker-image://x"}},
		{"hosts", map[string]string{"add-hosts": "a=10.0.0.1,b=fd00::1"}, func(o options) any { return o.Hosts }, []string{"a:10.0.0.1", "b:fd00::1"}},
		{"limits", map[string]string{"ulimit": "nofile=10:20", "shm-size": "64"}, func(o options) any { return []any{o.Ulimits[0].Soft, o.Ulimits[0].Hard, o.ShmSize} }, []any{int64(10), int64(20), int64(64)}},
		{"caches", map[string]string{"cache-imports": `[{"Type":"local","Attrs":{"src":"d"}}]`}, func(o options) any { return []string{o.Imports[0].Type, o.Imports[0].Attrs["src"]} }, []string{"local", "d"}},
		{"whose folder", map[string]string{"local-sessionid:context": "s"}, func(o options) any { return o.Sessions["context"] }, "s"},
	} {
		o, err := parse(c.attrs)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if d := cmp.Diff(c.want, c.check(o)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	for name, attrs := range map[string]map[string]string{
		"an SBOM": {"attest:sbom": ""}, "a mode": {"attest:provenance": "mode=some"}, "a device": {"device": "x"}, "another front end": {"source": "example.org/x"},
		"shm-size": {"shm-size": "many"}, "ulimit": {"ulimit": "nofile"}, "add-hosts": {"add-hosts": "a"}, "cache-imports": {"cache-imports": "{"},
	} {
		if _, err := parse(attrs); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("add-hosts", "a=1,b=2")
	f.Add("ulimit", "nofile=1:2")
	f.Add("cache-imports", `[{"Type":"x"}]`)
	f.Add("context:x::linux/arm64", "local:x")
	f.Fuzz(func(t *testing.T, name, value string) {
		spent.On(t, len(name)+len(value), func() { _, _ = parse(map[string]string{name: value}) })
	})
}

func TestExporters(t *testing.T) {
	for _, c := range []struct {
		e    exporter
		fine bool
	}{
		{exporter{kind: "moby", attrs: map[string]string{"name": "a", "push": "true", "annotation.x": "y"}}, true},
		{exporter{kind: "oci", attrs: map[string]string{"tar": "false", "compression": "gzip"}}, true},
		{exporter{kind: "oci", attrs: map[string]string{"compression": "zstd"}}, false},
		{exporter{kind: "image", attrs: map[string]string{"push-by-digest": "true"}}, false},
		{exporter{kind: "moby", attrs: map[string]string{"load": "true"}}, true}, // Compose without bake
		{exporter{kind: "moby", attrs: map[string]string{"load": "false"}}, false},
		{exporter{kind: "image", attrs: map[string]string{"never-heard-of": "1"}}, false},
		{exporter{kind: "local", attrs: map[string]string{"mode": "delete"}}, false},
		{exporter{kind: "tape"}, false},
	} {
		if err := c.e.check(); (err == nil) != c.fine {
			t.Errorf("%s %v: %v", c.e.kind, c.e.attrs, err)
		}
	}
	e := exporter{attrs: map[string]string{"name": "a,h:5000/b:1", "annotation.m": "1", "annotation-manifest[linux/amd64].n": "2", "annotation-index.i": "3"}}
	names, err := e.names()
	if err != nil || !slices.Equal(names, []string{"docker.io/library/a:latest", "h:5000/b:1"}) {
		t.Errorf("names %v: %v", names, err)
	}
	if d := cmp.Diff([]map[string]string{{"m": "1", "n": "2"}, {"i": "3"}}, []map[string]string{e.annotations(false), e.annotations(true)}); d != "" {
		t.Error(d)
	}
}

func TestFilter(t *testing.T) {
	u := build.Usage{ID: "abc", Kind: build.KindLayer, Text: "RUN make", Shared: true}
	for filter, want := range map[string]bool{"": true, "id==abc": true, "id!=abc": false, "type==regular,shared": true, "type==exec.cachemount": false, "description~=^RUN": true, "private": false,
		"shared==true": true, "immutable": true} {
		fits, err := parseFilter([]string{filter})
		if err != nil || fits(u) != want {
			t.Errorf("%q: %v, want %v", filter, err, want)
		}
	}
	for _, bad := range []string{"nothing==x", "id~=(", "ID==x", "=="} {
		if _, err := parseFilter([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// What the builder tells comes out as the vertices that clients draw.
func TestTeller(t *testing.T) {
	j := &job{ref: "r"}
	tell := newTeller(j, "")
	at := time.Unix(1e9, 0)
	from := build.Event{Kind: build.StepBegins, Time: at, Place: 1, Places: 2, Base: "busybox", Text: "FROM busybox"}
	run := build.Event{Kind: build.StepBegins, Time: at, Place: 2, Places: 2, Text: "RUN x"}
	ended := func(e build.Event, err error) build.Event { e.Kind, e.Err = build.StepEnds, err; return e }
	for _, e := range []build.Event{from, ended(from, nil), {Kind: build.StepBegins, Text: "ENV a=b"}, run, {Kind: build.StepOutput, Data: []byte("said")},
		{Kind: build.StepOutput, Data: make([]byte, maxLog)}, {Kind: build.StepOutput, Data: []byte("no more")}, ended(run, &build.RunError{Args: []string{"x"}, Code: 3})} {
		tell.event(e)
	}
	var names, logs []string
	var last *wire.Vertex
	for _, r := range j.story.told {
		for _, v := range r.Vertexes {
			names, last = append(names, v.Name), v
		}
		for _, l := range r.Logs {
			logs = append(logs, string(l.Msg))
		}
	}
	if want := []string{"[1/2] FROM docker.io/library/busybox:latest", "[1/2] FROM docker.io/library/busybox:latest", "[2/2] RUN x", "[2/2] RUN x"}; !slices.Equal(names, want) {
		t.Errorf("vertices %q, want %q", names, want)
	}
	if last.Error != `process "x" did not complete successfully: exit code: 3` || len(last.Inputs) != 1 || last.Completed == nil {
		t.Errorf("the last vertex is %v", last)
	}
	if len(logs) != 2 || logs[0] != "said" || !strings.Contains(logs[1], "output clipped") {
		t.Errorf("%d pieces of output", len(logs))
	}
}
