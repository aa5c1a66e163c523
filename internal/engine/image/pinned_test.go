package image

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a node pulls for its pods may go when it needs room; what somebody asked for or named by hand stays.
func TestPinned(t *testing.T) {
	f := newForest(t)
	ask := func(said bool) *Image {
		t.Helper()
		p := ocispec.Platform{OS: "linux", Architecture: "amd64"}
		img, err := f.Pull(t.Context(), f.ref, PullOptions{Platform: &p, Said: said})
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	for _, step := range []struct {
		what string
		do   func() *Image
		want bool
	}{
		{"a node's pull", func() *Image { return ask(false) }, false},
		{"a user's pull of what is here", func() *Image { return ask(true) }, true},
		{"a node's pull after it", func() *Image { return ask(false) }, true},
	} {
		if got := step.do().Pinned; got != step.want {
			t.Errorf("%s: pinned is %v", step.what, got)
		}
	}
	f = newForest(t)
	img := ask(false)
	if err := f.Tag(t.Context(), img.ID.String(), "mine:1"); err != nil {
		t.Fatal(err)
	}
	if img, err := f.Get("mine:1"); err != nil || !img.Pinned {
		t.Errorf("an image that was named: %+v, %v", img, err)
	}
}
