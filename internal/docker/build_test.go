package docker

import (
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
		"version=2":        "BuildKit is not served on this endpoint: set DOCKER_BUILDKIT=0, or use docker buildx with a builder of its own",
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

func buildQuery(t *testing.T, query string) (build.Request, error) {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return (&Server{}).buildRequest(&call{Request: httptest.NewRequest("POST", "/build", nil), version: "1.50", query: q})
}
