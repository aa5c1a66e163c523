package image

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
)

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == remote.DockerManifestList
}

func isManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == remote.DockerManifest || mediaType == ""
}

// isLayer tells archives that can be unpacked, in all their spellings.
func isLayer(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.") || strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.")
}

// parsed is a manifest or an index; which of the two its own bytes say, whatever a server called it.
type parsed struct {
	index    *ocispec.Index
	manifest *ocispec.Manifest
	media    string
}

// parseManifest reads a manifest. One that could be read as both index and image is refused: two readers must never see two images
// (image-spec, manifest.md; CVE-2021-41190).
func parseManifest(data []byte, mediaType string) (parsed, error) {
	return readManifest(data, mediaType, isLayer)
}

// parseBeside reads what an index may have: images, and statements about them.
func parseBeside(data []byte, mediaType string) (parsed, error) {
	return readManifest(data, mediaType, func(layer string) bool { return layer == mediaTypeStatement || isLayer(layer) })
}

func readManifest(data []byte, mediaType string, known func(layer string) bool) (parsed, error) {
	var probe struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		Config        json.RawMessage `json:"config"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		return parsed{}, fmt.Errorf("read manifest: %w: %w", ErrUnsupported, err)
	}
	if probe.FSLayers != nil || probe.SchemaVersion == 1 {
		return parsed{}, fmt.Errorf("read manifest: %w: docker schema 1, push the image again with a newer client", ErrUnsupported)
	}
	if probe.Manifests != nil && (probe.Layers != nil || probe.Config != nil) {
		return parsed{}, fmt.Errorf("read manifest: %w: index and image in one", ErrUnsupported)
	}
	media := probe.MediaType
	if media == "" {
		media = mediaType
	}
	if probe.Manifests != nil {
		var x ocispec.Index
		if err := json.Unmarshal(data, &x); err != nil {
			return parsed{}, fmt.Errorf("read index: %w: %w", ErrUnsupported, err)
		}
		if !isIndex(media) {
			media = ocispec.MediaTypeImageIndex
		}
		return parsed{index: &x, media: media}, nil
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return parsed{}, fmt.Errorf("read manifest: %w: %w", ErrUnsupported, err)
	}
	if !isManifest(media) {
		media = ocispec.MediaTypeImageManifest
	}
	if media == "" {
		media = ocispec.MediaTypeImageManifest
	}
	if err := m.Config.Digest.Validate(); err != nil {
		return parsed{}, fmt.Errorf("read manifest: %w: config: %w", ErrUnsupported, err)
	}
	for _, l := range m.Layers {
		if err := l.Digest.Validate(); err != nil || l.Size < 0 {
			return parsed{}, fmt.Errorf("read manifest: %w: bad layer descriptor %q", ErrUnsupported, string(l.Digest))
		}
		if !known(l.MediaType) {
			return parsed{}, fmt.Errorf("read manifest: %w: layer of type %q, this is no container image", ErrUnsupported, l.MediaType)
		}
	}
	return parsed{manifest: &m, media: media}, nil
}

// parseConfig reads a configuration and checks that it fits the manifest's layers.
func parseConfig(data []byte, layers int) (ocispec.Image, error) {
	var c ocispec.Image
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("read image config: %w: %w", ErrUnsupported, err)
	}
	if len(c.RootFS.DiffIDs) != layers {
		return c, &layerCountError{manifest: layers, config: len(c.RootFS.DiffIDs)}
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil {
			return c, fmt.Errorf("read image config: %w: diff ID %q: %w", ErrUnsupported, string(d), err)
		}
	}
	return c, nil
}

// chainIDs is image-spec config.md, "Layer ChainID": what docker shows where a layer's place in its image counts.
func chainIDs(diffIDs []digest.Digest) []digest.Digest {
	out := make([]digest.Digest, len(diffIDs))
	for i, d := range diffIDs {
		if i == 0 {
			out[i] = d
			continue
		}
		out[i] = digest.FromString(out[i-1].String() + " " + d.String())
	}
	return out
}
