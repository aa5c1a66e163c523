package build

import (
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
	"nau/internal/engine/layer"
)

// origin is what a stage begins with.
type origin struct {
	image   digest.Digest // "" = nothing
	layers  int
	history int
}

// squash makes one layer of those that a build added to its base. The history keeps every step, as one without files, and ends in one that has them.
func (r *solving) squash(st *state) (*state, error) {
	from, base := st.exact, st.origin
	if len(st.layers) == base.layers {
		return st, nil // there is nothing to merge
	}
	blob, err := r.merge(st.diffIDs()[:base.layers], st.layers[base.layers:])
	if err != nil {
		return nil, fmt.Errorf("squash image %s: %w", from, err)
	}
	out := st.copy()
	out.layers = append(out.layers[:base.layers], blob)
	for i := base.history; i < len(out.history); i++ {
		out.history[i].EmptyLayer = true
	}
	out.created = r.clock()
	comment := "create new from " + from.String()
	if base.image != "" {
		comment = fmt.Sprintf("merge %s to %s", from, base.image)
	}
	out.history = append(out.history, ocispec.History{Created: r.date(out.created), Comment: comment})
	out.keys, out.exact, out.parent = nil, "", ""
	return out, nil
}

// merge writes layers into a snapshot over others, one after the other, and makes a layer of what has changed then: what one made and another
// removed leaves no trace.
func (r *solving) merge(under []digest.Digest, layers []image.LayerBlob) (image.LayerBlob, error) {
	return r.layer(under, func(dir string, _ int) error {
		for _, l := range layers {
			open := func() (io.ReadCloser, error) { return r.b.cfg.Images.Open(l.Blob.Digest) }
			if err := layer.Pour(r.ctx, dir, open); err != nil {
				return fmt.Errorf("layer %s: %w", l.Blob.Digest, err)
			}
		}
		return nil
	})
}
