package docker

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
)

// pullError words a pull that did not go well as Docker does. want is the platform that was asked for, nil = this machine's.
func pullError(ref string, want *ocispec.Platform, err error) error {
	name, repository := ref, ref
	if n, e := reference.ParseDockerRef(ref); e == nil {
		name, repository = reference.FamiliarString(n), reference.FamiliarName(n)
	}
	var refused *image.RegistryError
	var corrupt *image.CorruptLayerError
	switch {
	case errors.As(err, &corrupt):
		return fail(http.StatusInternalServerError, "%s", corrupt)
	case errors.Is(err, image.ErrNoPlatform):
		p := image.HostPlatform()
		if want != nil {
			p = *want
		}
		return notFound("no matching manifest for %s in the manifest list entries: no match for platform in manifest: not found", image.FormatPlatform(p))
	case errors.As(err, &refused):
		said, code := refusal(refused)
		_, blob := blobOf(refused.Path)
		switch {
		case code == http.StatusForbidden:
			return notFound("pull access denied for %s, repository does not exist or may require 'docker login': %s", repository, said)
		case blob && code == http.StatusNotFound:
			return notFound("unknown blob")
		case refused.Code() == "NAME_UNKNOWN":
			return notFound("repository %s not found: %s", repository, said)
		case code == http.StatusNotFound:
			return notFound("manifest for %s not found: %s", name, said)
		}
		return fail(code, "%s", said)
	}
	return transportError(err)
}

// pushError is pullError's sister.
func pushError(err error) error {
	var refused *image.RegistryError
	if errors.As(err, &refused) {
		said, code := refusal(refused)
		return fail(code, "%s", strings.TrimPrefix(said, refused.Asked()+": "))
	}
	return transportError(err)
}

// refusal is what a registry said, and the status code that stands for it.
func refusal(e *image.RegistryError) (said string, code int) {
	switch {
	case e.NoCredentials:
		return e.Asked() + ": no basic auth credentials", http.StatusInternalServerError
	case e.Status >= 500:
		return fmt.Sprintf("received unexpected HTTP status: %d %s", e.Status, http.StatusText(e.Status)), http.StatusInternalServerError
	}
	code = http.StatusInternalServerError
	kind := e.Code()
	switch kind {
	case "UNAUTHORIZED":
		code = http.StatusUnauthorized
	case "DENIED":
		code = http.StatusForbidden
	case "MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN":
		code = http.StatusNotFound
	case "TOOMANYREQUESTS":
		code = http.StatusTooManyRequests
	}
	if e.Token {
		who := "oauth"
		if e.Anonymous {
			who = "anonymous"
		}
		at, _, _ := strings.Cut(e.URL, "?")
		return fmt.Sprintf("failed to authorize: failed to fetch %s token: unexpected status from %s request to %s: %d %s: %s", who, e.Method, at, e.Status, http.StatusText(e.Status), e.Said()), code
	}
	return e.Said(), code
}

// blobOf finds the digest in the path of a request for a blob.
func blobOf(path string) (string, bool) {
	_, after, ok := strings.Cut(path, "/blobs/")
	return after, ok
}

// transportError words a registry that cannot be talked to: its address is what matters, not what was wanted there. Of another error the first
// words go, which tell what the client knows.
func transportError(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	var u *url.Error
	if errors.Is(err, image.ErrUnreachable) && errors.As(err, &u) {
		if strings.Contains(u.URL, "/blobs/") {
			return fail(http.StatusInternalServerError, "%v", u) // it could be talked to before
		}
		if at, e := url.Parse(u.URL); e == nil {
			return fail(http.StatusInternalServerError, "Get \"%s://%s/v2/\": %v", at.Scheme, at.Host, u.Err)
		}
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// asked reads the platform that is asked for, a text like linux/arm64; nil = none.
func asked(platform string) (*ocispec.Platform, error) {
	if platform == "" {
		return nil, nil
	}
	p, err := image.ReadPlatform(platform)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	return &p, nil
}

// readName reads an image's name with an optional tag or digest beside it.
func readName(name, tag string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if tag == "" {
		return named, nil
	}
	text := reference.TrimNamed(named).String() + ":" + tag
	if strings.Contains(tag, ":") {
		text = reference.TrimNamed(named).String() + "@" + tag
	}
	ref, err := reference.ParseNamed(text)
	if err != nil {
		return nil, badRequest("invalid tag format")
	}
	return ref, nil
}
