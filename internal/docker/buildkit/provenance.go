package buildkit

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/build"
	"nau/internal/engine/image"
)

// asked is what --provenance asks for. Source: Docker's documentation, "Provenance attestations".
type asked struct {
	max          bool // all that is known, with build arguments and the Dockerfile
	version      string
	builder      string
	reproducible bool
	inline       bool // only where it costs nothing: what clients ask for when nobody told them
}

// parseProvenance reads the attribute attest:provenance; nil = none is to be made.
func parseProvenance(v string) (*asked, error) {
	a := &asked{version: "v1"}
	if v == "" || v == "true" {
		return a, nil
	}
	if v == "false" {
		return nil, nil
	}
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		var err error
		switch k {
		case "type":
		case "mode":
			if a.max = v == "max"; v != "max" && v != "min" {
				return nil, fmt.Errorf("mode %q is neither min nor max", v)
			}
		case "version":
			if a.version = v; v != "v0.2" && v != "v1" {
				return nil, fmt.Errorf("version %q is neither v0.2 nor v1", v)
			}
		case "builder-id":
			a.builder = v
		case "reproducible":
			a.reproducible, err = strconv.ParseBool(v)
		case "inline-only":
			a.inline, err = strconv.ParseBool(v)
		case "disabled":
			var off bool
			if off, err = strconv.ParseBool(v); off {
				return nil, nil
			}
		default:
			return nil, fmt.Errorf("%q is not known: mode, version, builder-id and reproducible are", k)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
	}
	return a, nil
}

// facts are the story of a result, for its provenance.
type facts struct {
	asked    asked
	ref      string // of the build
	began    time.Time
	ended    time.Time
	attrs    map[string]string // of the front end
	locals   []string          // folders of the client
	context  *build.Material   // a context from elsewhere
	filename string
	file     []byte // the Dockerfile
	platform string // of the builder
	taken    []build.Material
	secrets  []build.Asked
	agents   []build.Asked
}

// digestSet is digests by algorithm.
type digestSet map[string]string

type material struct {
	URI    string    `json:"uri"`
	Digest digestSet `json:"digest"`
}

type named struct {
	Name string `json:"name"`
}

type identified struct {
	ID       string `json:"id"`
	Optional bool   `json:"optional,omitempty"`
}

type parameters struct {
	Frontend string            `json:"frontend,omitempty"`
	Args     map[string]string `json:"args,omitempty"`
	Secrets  []identified      `json:"secrets,omitempty"`
	SSH      []identified      `json:"ssh,omitempty"`
	Locals   []named           `json:"locals,omitempty"`
}

type sourceFile struct {
	Filename string `json:"filename,omitempty"`
	Language string `json:"language,omitempty"`
	Data     []byte `json:"data,omitempty"`
}

type sourceFiles struct {
	Infos []sourceFile `json:"infos,omitempty"`
}

type details struct {
	VCS    map[string]string `json:"vcs,omitempty"`
	Source *sourceFiles      `json:"source,omitempty"`
}

type builderID struct {
	ID string `json:"id"`
}

// predicate02 is a provenance of SLSA's version 0.2.
type predicate02 struct {
	Builder    builderID    `json:"builder"`
	BuildType  string       `json:"buildType"`
	Materials  []material   `json:"materials,omitempty"`
	Invocation invocation02 `json:"invocation"`
	Metadata   metadata02   `json:"metadata"`
}

type invocation02 struct {
	ConfigSource struct {
		URI        string    `json:"uri,omitempty"`
		Digest     digestSet `json:"digest,omitempty"`
		EntryPoint string    `json:"entryPoint,omitempty"`
	} `json:"configSource"`
	Parameters  parameters `json:"parameters"`
	Environment struct {
		Platform string `json:"platform"`
	} `json:"environment"`
}

type metadata02 struct {
	BuildInvocationID string    `json:"buildInvocationID"`
	BuildStartedOn    time.Time `json:"buildStartedOn"`
	BuildFinishedOn   time.Time `json:"buildFinishedOn"`
	Completeness      struct {
		Parameters  bool `json:"parameters"`
		Environment bool `json:"environment"`
		Materials   bool `json:"materials"`
	} `json:"completeness"`
	Reproducible bool    `json:"reproducible"`
	Details      details `json:"https://mobyproject.org/buildkit@v1#metadata"`
}

// predicate1 is a provenance of SLSA's version 1.
type predicate1 struct {
	BuildDefinition struct {
		BuildType            string     `json:"buildType"`
		ExternalParameters   external1  `json:"externalParameters"`
		InternalParameters   internal1  `json:"internalParameters"`
		ResolvedDependencies []material `json:"resolvedDependencies,omitempty"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder  builderID `json:"builder"`
		Metadata metadata1 `json:"metadata"`
	} `json:"runDetails"`
}

type external1 struct {
	ConfigSource struct {
		URI    string    `json:"uri,omitempty"`
		Digest digestSet `json:"digest,omitempty"`
		Path   string    `json:"path,omitempty"`
	} `json:"configSource"`
	Request parameters `json:"request"`
}

type internal1 struct {
	BuilderPlatform string `json:"builderPlatform"`
}

type metadata1 struct {
	InvocationID string    `json:"invocationId"`
	StartedOn    time.Time `json:"startedOn"`
	FinishedOn   time.Time `json:"finishedOn"`
	Details      details   `json:"buildkit_metadata"`
	Completeness struct {
		Request              bool `json:"request"`
		ResolvedDependencies bool `json:"resolvedDependencies"`
	} `json:"buildkit_completeness"`
	Reproducible bool `json:"buildkit_reproducible,omitempty"`
}

// Types of what is said. The definition of steps that BuildKit's own provenance has in mode=max is not there: this builder has none.
const (
	predicateType02 = "https://slsa.dev/provenance/v0.2"
	predicateType1  = "https://slsa.dev/provenance/v1"
	buildType02     = "https://mobyproject.org/buildkit@v1"
	buildType1      = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
	statementType   = "https://in-toto.io/Statement/v1"
)

// materials are what the result was made of, from elsewhere.
func (f facts) materials() (out []material) {
	list := f.taken
	if f.context != nil {
		list = append([]build.Material{*f.context}, list...)
	}
	for _, m := range list {
		uri := m.Address
		if m.Image != "" {
			uri = packageURL(m.Image, text(m.Platform))
		}
		out = append(out, material{uri, digestSet{m.Algorithm: m.Digest}})
	}
	return out
}

// parameters are the request's; with mode=min without build arguments, labels, secrets and agents.
func (f facts) parameters() parameters {
	p := parameters{Frontend: "dockerfile.v0", Args: map[string]string{}}
	for _, k := range slices.Sorted(maps.Keys(f.attrs)) {
		kind, _, _ := strings.Cut(k, ":")
		switch {
		case kind == "attest", kind == "vcs", k == "cache-imports", k == "cache-from", kind == "local-sessionid", k == "frontend.caps":
		case !f.asked.max && (kind == "build-arg" || kind == "label"):
		default:
			p.Args[k] = f.attrs[k]
		}
	}
	for _, l := range f.locals {
		p.Locals = append(p.Locals, named{l})
	}
	if f.asked.max {
		for _, s := range f.secrets {
			p.Secrets = append(p.Secrets, identified{s.ID, !s.Required})
		}
		for _, a := range f.agents {
			p.SSH = append(p.SSH, identified{a.ID, !a.Required})
		}
	}
	return p
}

func (f facts) details() details {
	d := details{VCS: map[string]string{}}
	for k, v := range f.attrs {
		if name, ok := strings.CutPrefix(k, "vcs:"); ok {
			d.VCS[name] = v
		}
	}
	if f.asked.max {
		d.Source = &sourceFiles{[]sourceFile{{f.filename, "Dockerfile", f.file}}}
	}
	return d
}

// configSource is where the Dockerfile came from, if it was not the client.
func (f facts) configSource() (uri string, sum digestSet) {
	if f.context == nil {
		return "", nil
	}
	return f.context.Address, digestSet{f.context.Algorithm: f.context.Digest}
}

// predicate is the provenance that was asked for, and its type.
func (f facts) predicate() (kind string, p any) {
	if f.asked.version == "v1" {
		var p predicate1
		d := &p.BuildDefinition
		d.BuildType, d.ResolvedDependencies, d.InternalParameters.BuilderPlatform = buildType1, f.materials(), f.platform
		src := &d.ExternalParameters.ConfigSource
		src.URI, src.Digest = f.configSource()
		src.Path, d.ExternalParameters.Request = f.filename, f.parameters()
		p.RunDetails.Builder.ID = f.asked.builder
		m := metadata1{InvocationID: f.ref, StartedOn: f.began, FinishedOn: f.ended, Details: f.details(), Reproducible: f.asked.reproducible}
		m.Completeness.Request, m.Completeness.ResolvedDependencies = f.asked.max, f.complete()
		p.RunDetails.Metadata = m
		return predicateType1, p
	}
	p02 := predicate02{Builder: builderID{f.asked.builder}, BuildType: buildType02, Materials: f.materials()}
	src := &p02.Invocation.ConfigSource
	src.URI, src.Digest = f.configSource()
	src.EntryPoint, p02.Invocation.Parameters, p02.Invocation.Environment.Platform = f.filename, f.parameters(), f.platform
	m := metadata02{BuildInvocationID: f.ref, BuildStartedOn: f.began, BuildFinishedOn: f.ended, Details: f.details(), Reproducible: f.asked.reproducible}
	m.Completeness.Parameters, m.Completeness.Environment, m.Completeness.Materials = f.asked.max, true, f.complete()
	p02.Metadata = m
	return predicateType02, p02
}

// complete tells whether all that went in has a digest: folders of the client have none.
func (f facts) complete() bool { return len(f.locals) == 0 }

// statement says the provenance of an image under its names.
func (f facts) statement(img *image.Image, platform string, names []string) (image.Statement, error) {
	kind, p := f.predicate()
	return statement(kind, p, img, platform, names)
}

// inToto is a statement. Source: github.com/in-toto/attestation, "Statement".
type inToto struct {
	Type          string    `json:"_type"`
	PredicateType string    `json:"predicateType"`
	Subject       []subject `json:"subject"`
	Predicate     any       `json:"predicate"`
}

// statement says something about an image, under its names.
func statement(kind string, predicate any, img *image.Image, platform string, names []string) (image.Statement, error) {
	doc := inToto{statementType, kind, subjects(img.Manifest, platform, names), predicate}
	b, err := json.Marshal(doc)
	return image.Statement{Predicate: kind, Body: b}, err
}

type subject struct {
	Name   string    `json:"name"`
	Digest digestSet `json:"digest"`
}

// subjects are what a statement is about: a manifest under each of its names.
func subjects(d ocispec.Descriptor, platform string, names []string) (out []subject) {
	sum := digestSet{d.Digest.Algorithm().String(): d.Digest.Encoded()}
	for _, n := range names {
		out = append(out, subject{packageURL(n, platform), sum})
	}
	if len(out) == 0 {
		out = append(out, subject{"_", sum})
	}
	return out
}

// packageURL names an image for other tools. Source: the package URL specification, type docker.
func packageURL(ref, platform string) string {
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	out := "pkg:docker/" + reference.FamiliarName(n)
	q := url.Values{}
	if d, ok := n.(reference.Digested); ok {
		q.Set("digest", d.Digest().String())
	}
	if t, ok := reference.TagNameOnly(n).(reference.Tagged); ok {
		out += "@" + url.PathEscape(t.Tag())
	}
	if platform != "" {
		q.Set("platform", platform)
	}
	if len(q) > 0 {
		out += "?" + q.Encode()
	}
	return out
}
