package buildkit

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
)

// lintResult is the answer to frontend.lint, as docker build --check reads it.
type lintResult struct {
	Warnings []lintWarning      `json:"warnings"`
	Sources  []*wire.SourceInfo `json:"sources"`
}

type lintWarning struct {
	RuleName    string       `json:"ruleName"`
	Description string       `json:"description,omitempty"`
	URL         string       `json:"url,omitempty"`
	Detail      string       `json:"detail,omitempty"`
	Location    lintLocation `json:"location"`
}

type lintLocation struct {
	Ranges []*wire.Range `json:"ranges"`
}

// call answers a request about a Dockerfile that builds nothing.
func (f *frontend) call() (*solved, error) {
	if f.o.Call != "frontend.lint" {
		return nil, status.Errorf(codes.Unimplemented, "request %s: this builder answers frontend.lint only (docker build --check)", f.o.Call)
	}
	found, _, err := f.lint()
	if err != nil {
		return nil, err
	}
	res := lintResult{Warnings: []lintWarning{}, Sources: []*wire.SourceInfo{f.source()}}
	var text strings.Builder
	for _, w := range found {
		res.Warnings = append(res.Warnings, lintWarning{w.Rule, w.Description, w.URL, w.Text, lintLocation{rangesOf(w)}})
		fmt.Fprintf(&text, "\nWARNING: %s - %s\n%s\n%s:%d\n", w.Rule, w.URL, w.Text, f.o.Filename, w.From)
	}
	b, err := json.Marshal(res)
	if err != nil {
		return nil, err
	}
	code := "0"
	if len(found) > 0 {
		code = "1"
	}
	return &solved{metadata: map[string][]byte{"result.json": b, "result.txt": []byte(text.String()), "result.statuscode": []byte(code), "version": []byte("1.0.0")}}, nil
}

func rangesOf(w build.Finding) []*wire.Range {
	return []*wire.Range{{Start: &wire.Position{Line: int32(w.From)}, End: &wire.Position{Line: int32(w.To)}}}
}

func (f *frontend) lint() ([]build.Finding, bool, error) {
	options := ""
	if v := f.o.Args["BUILDKIT_DOCKERFILE_CHECK"]; v != nil {
		options = *v
	}
	return build.Lint(f.file, options)
}

// warn tells what was found in the Dockerfile beside the build; a Dockerfile that wants it so is not built.
func (f *frontend) warn() error {
	found, strict, err := f.lint()
	if err != nil {
		return err
	}
	for _, w := range found {
		f.j.story.tell(&wire.StatusResponse{Warnings: []*wire.VertexWarning{{Vertex: f.t.begins, Level: 1, Short: fmt.Appendf(nil, "%s: %s (line %d)", w.Rule, w.Text, w.From),
			Detail: [][]byte{[]byte(w.Description)}, Url: w.URL, Info: f.source(), Ranges: rangesOf(w)}}})
	}
	if strict && len(found) > 0 {
		return fmt.Errorf("%w: lint violation found for rules: %s", build.ErrDockerfile, rules(found))
	}
	return nil
}

func rules(found []build.Finding) string {
	var out []string
	for _, w := range found {
		out = append(out, w.Rule)
	}
	return strings.Join(out, ", ")
}
