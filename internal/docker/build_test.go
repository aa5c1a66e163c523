package docker

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"testing"

	"nau/internal/engine/build"
)

// What the classic endpoint cannot do is refused in words; the same flag switched off is no reason.
func TestBuildRequestRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"squash=1":         "squash is only supported with experimental mode",
		"squash=true&t=a":  "squash is only supported with experimental mode",
		"platform=foo":     `"foo": unknown operating system or architecture: invalid argument`,
		"outputs=type%3Dx": "outputs need BuildKit; the image is in the engine when the build ends",
	} {
		if _, err := buildQuery(t, query); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
	req, err := buildQuery(t, "squash=0&version=1&outputs=&t=a&t=&t=b:c")
	if err != nil {
		t.Fatal(err)
	}
	if len(req.Tags) != 2 || req.Tags[0] != "a" || req.Tags[1] != "b:c" {
		t.Errorf("tags %q, want a and b:c", req.Tags)
	}
}

// Squash is there when experimental features are on, and for nau build, which also asks for the needed stages alone.
func TestBuildSquash(t *testing.T) {
	for _, c := range []struct {
		name         string
		experimental bool
		header       string
		refused      bool
		classic      bool
	}{
		{"docker", false, "", true, false},
		{"docker, experimental", true, "", false, true},
		{"nau build", false, `{"needed":true,"squash":true}`, false, false},
	} {
		r := httptest.NewRequest("POST", "/build", nil)
		if c.header != "" {
			r.Header.Set("X-Build-Own", base64.StdEncoding.EncodeToString([]byte(c.header)))
		}
		s := &Server{cfg: Config{Experimental: c.experimental}}
		req, err := s.buildRequest(&call{Request: r, version: "1.50", query: url.Values{"squash": {"1"}}})
		if (err != nil) != c.refused || err == nil && (!req.Squash || req.Classic != c.classic) {
			t.Errorf("%s: %v, squash %v, classic %v", c.name, err, req.Squash, req.Classic)
		}
	}
}

func TestClassicErrors(t *testing.T) {
	missing := &build.MissingError{Name: "a"}
	for text, c := range map[string]error{
		"COPY failed: file not found in build context or excluded by .dockerignore: stat a: file does not exist": &build.StepError{Text: "COPY a /b", From: 2, Err: missing},
		"other":                               &build.StepError{Text: "COPY a /b", From: 2, Err: errors.New("other")},
		"the Dockerfile (x) cannot be empty":  fmt.Errorf("%w: the Dockerfile (x) cannot be empty", build.ErrDockerfile),
		`target stage "x" could not be found`: fmt.Errorf("target stage \"x\" could not be found: %w", build.ErrDockerfile),
		"failed to parse Dockerfile: file with no instructions": build.Check([]byte("\n\n")),
		"dockerfile parse error on line 2: unknown: FOO":        errors.New("dockerfile parse error on line 2: unknown: FOO"),
	} {
		if got := classicError(c); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

func buildQuery(t *testing.T, query string) (build.Request, error) {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return (&Server{}).buildRequest(&call{Request: httptest.NewRequest("POST", "/build", nil), version: "1.50", query: q})
}
