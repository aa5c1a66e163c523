package buildkit

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
)

// lintResult is the answer to frontend.lint, as docker build --check reads it.
type lintResult struct {
	Warnings []lintWarning      `json:"warnings"`
	Sources  []*wire.SourceInfo `json:"sources"`
	Error    *lintError         `json:"buildError,omitempty"`
}

type lintWarning struct {
	RuleName    string   `json:"ruleName"`
	Description string   `json:"description,omitempty"`
	URL         string   `json:"url,omitempty"`
	Detail      string   `json:"detail,omitempty"`
	Location    location `json:"location"`
}

// lintError is why there is nothing to check.
type lintError struct {
	Message  string   `json:"message"`
	Location location `json:"location"`
}

type location struct {
	Ranges []*wire.Range `json:"ranges"`
}

// Requests about a Dockerfile that build nothing.
const (
	callLint     = "frontend.lint"
	callOutline  = "frontend.outline"
	callTargets  = "frontend.targets"
	callDescribe = "frontend.subrequests.describe"
)

// call answers a request that builds nothing.
func (f *frontend) call() (*solved, error) {
	switch f.o.Call {
	case callLint:
		return f.checked()
	case callDescribe:
		return documented(subrequests, 0)
	case callOutline, callTargets:
	default:
		return nil, fmt.Errorf("unsupported request %s", f.o.Call)
	}
	req, err := f.request()
	if err != nil {
		return nil, err
	}
	plan, err := build.Parse(f.file, f.s.cfg.Builder.Options(req))
	if err != nil {
		return nil, err
	}
	if f.o.Call == callTargets {
		return documented(targetsOf(plan.Targets(), f.file), 0)
	}
	o, err := plan.Outline()
	if err != nil {
		return nil, err
	}
	return documented(outlineOf(o, f.file), 0)
}

// documented makes the result of a request: a document that clients show in their own way.
func documented(doc any, code int) (*solved, error) {
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, err
	}
	return &solved{metadata: map[string][]byte{"result.json": b, "result.txt": b, "result.statuscode": []byte(strconv.Itoa(code)), "version": []byte("1.0.0")}}, nil
}

// subrequests says which requests there are. Source: what docker build --call=subrequests.describe prints.
var subrequests = []subrequest{
	{Name: callOutline, Description: "List all parameters current build target supports", Opts: []described{{"target", "Target build stage"}}},
	{Name: callTargets, Description: "List all targets current build supports", Opts: []described{}},
	{Name: callDescribe, Description: "List available subrequest types"},
}

type subrequest struct {
	Name        string      `json:"name"`
	Version     string      `json:"version"`
	Type        string      `json:"type"`
	Description string      `json:"description"`
	Opts        []described `json:"opts"`
	Inputs      []described `json:"inputs"`
	Metadata    []described `json:"metadata"`
	Refs        []described `json:"refs"`
}

type described struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// MarshalJSON adds what all requests have in common.
func (s subrequest) MarshalJSON() ([]byte, error) {
	type plain subrequest
	s.Version, s.Type, s.Metadata = "1.0.0", "rpc", []described{{Name: "result.json"}, {Name: "result.txt"}}
	return json.Marshal(plain(s))
}

// checked answers a request for what is better done otherwise.
func (f *frontend) checked() (*solved, error) {
	found, strict, err := f.lint()
	if err != nil {
		return f.wrong(err)
	}
	res := lintResult{Warnings: []lintWarning{}, Sources: []*wire.SourceInfo{f.source()}}
	for _, w := range found {
		res.Warnings = append(res.Warnings, lintWarning{w.Rule, w.Description, w.URL, w.Text, at(w.From, w.To)})
	}
	if strict && len(found) > 0 {
		res.Error = &lintError{Message: violation(found).Error()}
	}
	return documented(res, min(len(found), 1))
}

// wrong answers a check of what is no Dockerfile at all.
func (f *frontend) wrong(err error) (*solved, error) {
	ranges := place(err)
	if f.file == nil || len(ranges) == 0 {
		return nil, located(err, f.source())
	}
	return documented(lintResult{Sources: []*wire.SourceInfo{f.source()}, Error: &lintError{describe(err).Error(), location{ranges}}}, 1)
}

func at(from, to int) location {
	return location{[]*wire.Range{{Start: &wire.Position{Line: int32(from)}, End: &wire.Position{Line: int32(to)}}}}
}

func (f *frontend) lint() ([]build.Finding, bool, error) {
	options := ""
	if v := f.o.Args["BUILDKIT_DOCKERFILE_CHECK"]; v != nil {
		options = *v
	}
	return build.Lint(f.file, options, string(f.ignore))
}

// warn tells what was found in the Dockerfile beside the build; a Dockerfile that wants it so is not built.
func (f *frontend) warn() error {
	found, strict, err := f.lint()
	if err != nil {
		return err
	}
	for _, w := range found {
		f.j.story.tell(&wire.StatusResponse{Warnings: []*wire.VertexWarning{{Vertex: f.t.begins, Level: 1, Short: fmt.Appendf(nil, "%s: %s (line %d)", w.Rule, w.Text, w.From),
			Detail: [][]byte{[]byte(w.Description)}, Url: w.URL, Info: f.source(), Ranges: at(w.From, w.To).Ranges}}})
	}
	if strict && len(found) > 0 {
		return fmt.Errorf("%w: %w", build.ErrDockerfile, violation(found))
	}
	return nil
}

// violation is why a Dockerfile that wants to be without findings is not built.
func violation(found []build.Finding) error {
	var rules []string
	for _, w := range found {
		rules = append(rules, w.Rule)
	}
	return fmt.Errorf("lint violation found for rules: %s", strings.Join(rules, ", "))
}
