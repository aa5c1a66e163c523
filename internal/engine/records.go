package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/container"
	"nau/internal/engine/record"
	"nau/internal/engine/sandbox"
)

// Records are an engine's records as they lie on disk, for who looks on while the engine runs: nothing is opened for writing, locked, repaired
// or removed, and nothing is followed. Containers' and sandboxes' records are read once; what they say may be old a moment later.
type Records struct {
	DataDir    string
	Containers map[string]*container.Record // by ID
	Sandboxes  map[string]*sandbox.Record   // by ID
	Damaged    []string                     // folders whose record could not be understood
}

// LayerRecord is an extracted layer as the layer store keeps it.
type LayerRecord struct {
	DiffID digest.Digest `json:"diffID"`
	Size   int64         `json:"size"`   // bytes of file content
	Disk   int64         `json:"disk"`   // bytes of disk blocks
	Inodes int64         `json:"inodes"` // none: the layer is no lower directory of its own
	Dir    string        `json:"-"`      // absolute; the overlay's lower directory
}

// ReadRecords reads the records below a data directory. One that has none is an error that wraps fs.ErrNotExist.
func ReadRecords(dataDir string) (*Records, error) {
	r := &Records{DataDir: dataDir}
	var err error
	containers, sandboxes := filepath.Join(dataDir, "containers"), filepath.Join(dataDir, "sandboxes")
	var damaged []string
	if r.Containers, damaged, err = record.Look[container.Record](containers); err != nil {
		return nil, fmt.Errorf("read containers' records: %w", err)
	}
	r.damaged(containers, damaged)
	if r.Sandboxes, damaged, err = record.Look[sandbox.Record](sandboxes); err != nil {
		return nil, fmt.Errorf("read sandboxes' records: %w", err)
	}
	r.damaged(sandboxes, damaged)
	return r, nil
}

func (r *Records) damaged(dir string, ids []string) {
	for _, id := range ids {
		r.Damaged = append(r.Damaged, filepath.Join(dir, id))
	}
}

// Find finds a container by ID, unique beginning of one, or name. container.ErrNotFound, container.ErrAmbiguous.
func (r *Records) Find(key string) (*container.Record, error) {
	if c, ok := r.Containers[key]; ok {
		return c, nil
	}
	var found []*container.Record
	for id, c := range r.Containers {
		if c.Config.Name != "" && c.Config.Name == strings.TrimPrefix(key, "/") {
			return c, nil
		}
		if key != "" && strings.HasPrefix(id, key) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("find container %s: %w", key, container.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("find container %s: %w", key, container.ErrAmbiguous)
}

// Labelled lists the containers that have all the labels, oldest first.
func (r *Records) Labelled(labels map[string]string) []*container.Record {
	return r.pick(func(c *container.Record) bool {
		for k, v := range labels {
			if c.Config.Labels[k] != v {
				return false
			}
		}
		return true
	})
}

// In lists a sandbox's containers, oldest first.
func (r *Records) In(sandbox string) []*container.Record {
	return r.pick(func(c *container.Record) bool { return c.Config.Sandbox == sandbox })
}

func (r *Records) pick(which func(*container.Record) bool) []*container.Record {
	var out []*container.Record
	for _, c := range r.Containers {
		if which(c) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *container.Record) int { return a.Created.Compare(b.Created) })
	return out
}

// Layers reads the extracted layers. One that is being made or removed is not among them.
func (r *Records) Layers() (map[digest.Digest]LayerRecord, error) {
	files, err := filepath.Glob(filepath.Join(r.DataDir, "layers", "l*", "layer.json"))
	if err != nil {
		return nil, err
	}
	all := map[digest.Digest]LayerRecord{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read layer's record: %w", err)
		}
		l := LayerRecord{Dir: filepath.Join(filepath.Dir(f), "fs")}
		if err := json.Unmarshal(b, &l); err != nil {
			return nil, fmt.Errorf("read layer's record %s: %w", f, err)
		}
		all[l.DiffID] = l
	}
	return all, nil
}

// Blob is where a blob lies, or would.
func (r *Records) Blob(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("find blob %q: %w", string(d), err)
	}
	return filepath.Join(r.DataDir, "content", "blobs", string(d.Algorithm()), d.Encoded()), nil
}

// Manifest finds the manifest of the image whose configuration is image, starting at target: that manifest itself, or an index with it. The
// digest is the manifest's.
func (r *Records) Manifest(target, image digest.Digest) (*ocispec.Manifest, digest.Digest, error) {
	path, err := r.Blob(target)
	if err != nil {
		return nil, "", err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("read manifest %s: %w", target, err)
	}
	var both struct {
		ocispec.Manifest
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(b, &both); err != nil {
		return nil, "", fmt.Errorf("read manifest %s: %w", target, err)
	}
	if both.Config.Digest == image {
		return &both.Manifest, target, nil
	}
	for _, d := range both.Manifests {
		if d.Digest == target {
			continue
		}
		if m, at, err := r.Manifest(d.Digest, image); err == nil {
			return m, at, nil
		}
	}
	return nil, "", fmt.Errorf("find manifest of image %s from %s: %w", image, target, fs.ErrNotExist)
}
