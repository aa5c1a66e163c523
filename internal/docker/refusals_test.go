package docker

import (
	"errors"
	"fmt"
	"net/url"
	"testing"

	"nau/internal/engine/image"
	"nau/internal/engine/image/remote"
)

// The words and status codes of a Docker Engine 29 whose registry answers so.
func TestPullErrors(t *testing.T) {
	code := func(status int, code, message string) *remote.Error {
		return &remote.Error{Method: "GET", Path: "/v2/x/manifests/1", URL: "http://h:5000/v2/x/manifests/1", Status: status, Codes: []remote.Code{{Code: code, Message: message}}}
	}
	plain := func(status int, path string) *remote.Error {
		return &remote.Error{Method: "GET", Path: path, URL: "http://h:5000" + path, Status: status, Body: "<html>no</html>"}
	}
	basic := plain(401, "/v2/x/manifests/1")
	basic.NoCredentials = true
	token := plain(403, "/token")
	token.URL, token.Token, token.Anonymous = "http://h:5000/token?scope=x", true, true
	for _, c := range []struct {
		ref  string
		err  error
		want string
		code int
	}{
		{"h:5000/x:1", code(404, "MANIFEST_UNKNOWN", "manifest unknown"), "manifest for h:5000/x:1 not found: manifest unknown: manifest unknown", 404},
		{"x@sha256:1b0991d5cc98c9d42c815ed020712d47b0a535a2f74902c6a82b9530ad29f1fa", code(404, "MANIFEST_UNKNOWN", "manifest unknown"),
			"manifest for x@sha256:1b0991d5cc98c9d42c815ed020712d47b0a535a2f74902c6a82b9530ad29f1fa not found: manifest unknown: manifest unknown", 404},
		{"h:5000/x", code(404, "NAME_UNKNOWN", "repository name not known to registry"), "repository h:5000/x not found: name unknown: repository name not known to registry", 404},
		{"x", code(403, "DENIED", "requested access to the resource is denied"), "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", 404},
		{"h:5000/x:1", plain(403, "/v2/x/manifests/1"), "pull access denied for h:5000/x, repository does not exist or may require 'docker login': denied: <html>no</html>", 404},
		{"x", code(401, "UNAUTHORIZED", "authentication required"), "unauthorized: authentication required", 401},
		{"x", basic, `Get "http://h:5000/v2/x/manifests/1": no basic auth credentials`, 500},
		{"x", token, "pull access denied for x, repository does not exist or may require 'docker login': failed to authorize: failed to fetch anonymous token: unexpected status from GET request to http://h:5000/token: 403 Forbidden: denied: <html>no</html>", 404},
		{"x", code(429, "TOOMANYREQUESTS", "You have reached your pull rate limit."), "toomanyrequests: You have reached your pull rate limit.", 429},
		{"x", code(500, "UNKNOWN", "it broke"), "received unexpected HTTP status: 500 Internal Server Error", 500},
		{"x", plain(503, "/v2/x/manifests/1"), "received unexpected HTTP status: 503 Service Unavailable", 500},
		{"x", plain(404, "/v2/x/manifests/1"), "unknown: <html>no</html>", 500},
		{"x", code(405, "UNSUPPORTED", "The operation is unsupported."), "unsupported: The operation is unsupported.", 500},
		{"x", &remote.Error{Path: "/v2/x/blobs/sha256:12", Status: 404, Codes: []remote.Code{{Code: "BLOB_UNKNOWN", Message: "blob unknown to registry"}}}, "unknown blob", 404},
		{"x", fmt.Errorf("get manifest: %w: %w", image.ErrUnreachable, &url.Error{Op: "Get", URL: "http://h:5000/v2/x/manifests/1", Err: errors.New("connection refused")}), `Get "http://h:5000/v2/": connection refused`, 500},
		{"x", fmt.Errorf("download blob: %w: %w", image.ErrUnreachable, &url.Error{Op: "Get", URL: "http://h:5000/v2/x/blobs/sha256:12", Err: errors.New("EOF")}), `Get "http://h:5000/v2/x/blobs/sha256:12": EOF`, 500},
		{"x", &image.CorruptLayerError{Digest: "sha256:12"}, "filesystem layer verification failed for digest sha256:12", 500},
		{"x", fmt.Errorf("%w: linux/amd64 is not among 2", image.ErrNoPlatform), "no matching manifest for " + image.FormatPlatform(image.HostPlatform()) + " in the manifest list entries: no match for platform in manifest: not found", 404},
		{"x", fmt.Errorf("image operating system %q cannot be used on this platform: %w", "windows", image.ErrForeign), `image operating system "windows" cannot be used on this platform: operating system is not supported`, 500},
	} {
		got := pullError(c.ref, nil, fmt.Errorf("pull %s: %w", c.ref, c.err))
		if got.Error() != c.want || statusOf(got) != c.code {
			t.Errorf("%v:\n%d %s\nwant:\n%d %s", c.err, statusOf(got), got, c.code, c.want)
		}
	}
	for _, c := range []struct {
		err  *remote.Error
		want string
	}{{basic, "no basic auth credentials"}, {code(401, "UNAUTHORIZED", "authentication required"), "unauthorized: authentication required"},
		{code(403, "DENIED", "requested access to the resource is denied"), "denied: requested access to the resource is denied"}} {
		if got := pushError(fmt.Errorf("push x: %w", c.err)); got.Error() != c.want {
			t.Errorf("push: %s, want %s", got, c.want)
		}
	}
}

func TestReadPlatform(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "linux/arm64": "linux/arm64", "linux/arm/v7": "linux/arm/v7", "arm64": "linux/arm64", "Linux/AMD64": "linux/amd64", "windows/amd64": "windows/amd64",
		"nonsense":       `"nonsense": unknown operating system or architecture: invalid argument`,
		"linux/arm/v7/x": `"linux/arm/v7/x": cannot parse platform specifier: invalid argument`,
		"linux/a md64":   `"a md64" is an invalid component of "linux/a md64": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument`,
		"/":              `"" is an invalid component of "/": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument`,
	} {
		p, err := asked(text)
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case p != nil:
			got = image.FormatPlatform(*p)
		}
		if got != want {
			t.Errorf("platform %q: %s, want %s", text, got, want)
		}
	}
}
