package build

import (
	"context"
	"errors"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
)

// Result is what a build came to, before it is an image with a name, an archive or a folder. It holds the layers until Close.
type Result struct {
	r  *solving
	st *state
}

// Solve runs one build to its end. ctx must live as long as the result.
func (b *Builder) Solve(ctx context.Context, req Request) (*Result, error) {
	r, err := b.begin(ctx, req)
	if err != nil {
		return nil, err
	}
	st, err := r.solve()
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return &Result{r, st}, nil
}

// Close gives back everything but images and cache.
func (x *Result) Close() error { return x.r.close() }

// Platform of the result.
func (x *Result) Platform() ocispec.Platform { return x.st.platform }

// Config is the result's configuration as it would be stored.
func (x *Result) Config() []byte { return x.r.encode(x.st, x.st.created) }

// Image makes an image of the result and gives it names; without any it is there until a prune.
func (x *Result) Image(names []string) (*image.Image, error) {
	st := x.st
	if x.r.req.Squash {
		whole, err := x.r.finish(st, nil)
		if err != nil {
			return nil, err
		}
		st = st.copy()
		st.exact = whole.ID
		if st, err = x.r.squash(st); err != nil {
			return nil, err
		}
	}
	img, err := x.r.finish(st, names)
	if err != nil {
		return nil, err
	}
	x.r.emit(Event{Kind: BuildEnds, Stage: -1, ID: img.ID.String()})
	for _, t := range names {
		if named, err := reference.ParseNormalizedNamed(t); err == nil {
			x.r.emit(Event{Kind: Tagged, Stage: -1, ID: img.ID.String(), Text: reference.FamiliarString(reference.TagNameOnly(named))})
		}
	}
	return img, nil
}

// Annotated makes an image of the result whose manifest has annotations.
func (x *Result) Annotated(notes map[string]string) (*image.Image, error) {
	return x.r.work.Create(x.r.ctx, image.CreateOptions{Config: x.Config(), Layers: x.st.layers, Parent: x.r.parent(x.st), Annotations: notes})
}

// Folder shows the result's files for reading, below the builder's own folder, until Close.
func (x *Result) Folder() (string, error) {
	v, err := x.r.view(x.st.diffIDs())
	if err != nil {
		return "", err
	}
	return v.dir, nil
}
