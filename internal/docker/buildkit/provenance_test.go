package buildkit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/build"
	"nau/internal/engine/image"
)

func TestParseProvenance(t *testing.T) {
	for v, want := range map[string]*asked{
		"": {version: "v1"}, "true": {version: "v1"}, "false": nil, "disabled=true": nil, "mode=min,inline-only=true": {version: "v1", inline: true},
		"type=provenance,mode=max,version=v1,builder-id=https://ci/1,reproducible=true": {max: true, version: "v1", builder: "https://ci/1", reproducible: true},
	} {
		got, err := parseProvenance(v)
		if err != nil {
			t.Errorf("%q: %v", v, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(asked{})); diff != "" {
			t.Errorf("%q: %s", v, diff)
		}
	}
	for _, v := range []string{"mode=some", "version=v2", "filename=x", "reproducible=perhaps", `"`} {
		if got, err := parseProvenance(v); err == nil {
			t.Errorf("%q is taken: %+v", v, got)
		}
	}
}

// someFacts are of a build of a repository with an argument, a secret and an agent.
func someFacts(a asked) facts {
	return facts{asked: a, ref: "b1", began: time.Unix(1, 0).UTC(), ended: time.Unix(2, 0).UTC(), filename: "Dockerfile", file: []byte("FROM x"), platform: "linux/amd64",
		attrs:   map[string]string{"build-arg:KEY": "hidden", "label:a": "b", "target": "t", "vcs:revision": "abc", "attest:provenance": "mode=max", "local-sessionid:context": "s"},
		context: &build.Material{Address: "https://e.com/r.git#refs/heads/main", Algorithm: "sha1", Digest: "c0"},
		taken: []build.Material{{Image: "busybox", Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Algorithm: "sha256", Digest: "aa"},
			{Address: "https://e.com/f", Algorithm: "sha256", Digest: "bb"}},
		secrets: []build.Asked{{ID: "key", Required: true}}, agents: []build.Asked{{ID: "default"}}}
}

func TestProvenance(t *testing.T) {
	img := &image.Image{Manifest: ocispec.Descriptor{Digest: digest.FromString("m")}}
	read := func(a asked) (out struct {
		Type          string `json:"_type"`
		PredicateType string
		Subject       []struct {
			Name   string
			Digest map[string]string
		}
		Predicate json.RawMessage
	}) {
		t.Helper()
		st, err := someFacts(a).statement(img, "linux/amd64", []string{"docker.io/library/app:1", "127.0.0.1:5001/a/b:latest"})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(st.Body, &out); err != nil || out.PredicateType != st.Predicate {
			t.Fatalf("%v: %s", err, st.Body)
		}
		return out
	}
	min := read(asked{version: "v0.2"})
	if min.Type != "https://in-toto.io/Statement/v1" || min.PredicateType != "https://slsa.dev/provenance/v0.2" {
		t.Errorf("statement %+v", min)
	}
	for i, name := range []string{"pkg:docker/app@1?platform=linux%2Famd64", "pkg:docker/127.0.0.1:5001/a/b@latest?platform=linux%2Famd64"} {
		if s := min.Subject[i]; s.Name != name || s.Digest["sha256"] != digest.FromString("m").Encoded() {
			t.Errorf("subject %+v, want %s", s, name)
		}
	}
	const want = `{"builder":{"id":""},"buildType":"https://mobyproject.org/buildkit@v1","materials":[{"uri":"https://e.com/r.git#refs/heads/main","digest":{"sha1":"c0"}},` +
		`{"uri":"pkg:docker/busybox@latest?platform=linux%2Famd64","digest":{"sha256":"aa"}},{"uri":"https://e.com/f","digest":{"sha256":"bb"}}],` +
		`"invocation":{"configSource":{"uri":"https://e.com/r.git#refs/heads/main","digest":{"sha1":"c0"},"entryPoint":"Dockerfile"},"parameters":{"frontend":"dockerfile.v0",` +
		`"args":{"target":"t"}},"environment":{"platform":"linux/amd64"}},"metadata":{"buildInvocationID":"b1","buildStartedOn":"1970-01-01T00:00:01Z",` +
		`"buildFinishedOn":"1970-01-01T00:00:02Z","completeness":{"parameters":false,"environment":true,"materials":true},"reproducible":false,` +
		`"https://mobyproject.org/buildkit@v1#metadata":{"vcs":{"revision":"abc"}}}}`
	if diff := cmp.Diff(want, string(min.Predicate)); diff != "" {
		t.Error(diff)
	}
	for _, version := range []string{"v0.2", "v1"} {
		small, all := string(read(asked{version: version}).Predicate), string(read(asked{version: version, max: true, builder: "https://ci/1"}).Predicate)
		for _, s := range []string{`"build-arg:KEY":"hidden"`, `"secrets":[{"id":"key"}]`, `"ssh":[{"id":"default","optional":true}]`, `"data":"RlJPTSB4"`, `"id":"https://ci/1"`} {
			if strings.Contains(small, s) || !strings.Contains(all, s) {
				t.Errorf("%s: %s is to be in mode=max alone:\n%s\n%s", version, s, small, all)
			}
		}
	}
	v1 := read(asked{version: "v1"})
	if v1.PredicateType != "https://slsa.dev/provenance/v1" || !strings.Contains(string(v1.Predicate), `"resolvedDependencies":[{"uri":"https://e.com/r.git#refs/heads/main"`) {
		t.Errorf("version 1: %+v", v1)
	}
	local := someFacts(asked{})
	local.locals, local.context = []string{"context"}, nil
	if _, p := local.predicate(); p.(predicate02).Metadata.Completeness.Materials {
		t.Error("folders of the client have no digest, and yet the materials are complete")
	}
}
