package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/content"
)

// The files of a repository, drawn once. They lie in the content store's pin directory, where every file named like a digest keeps that blob.
//
//	<name>/_blobs/<alg>-<hex>                     the repository has this blob; empty
//	<name>/_manifests/<alg>-<hex>                 the repository has this manifest; its media type
//	<name>/_tags/tag-<tag>                        a tag; the manifest's digest
//	<name>/_referrers/of-<alg>-<hex>/<alg>-<hex>  a manifest whose subject is the first; its descriptor as JSON
//	<name>/_uploads/up-<id>                       an upload that has begun; empty
//
// Components of names never start with "_", so repositories nest without clashes. A file is written beside its place and renamed.
type repository struct {
	dir  string
	name string
}

func (g *Registry) repository(name string) repository {
	return repository{dir: filepath.Join(g.dir, filepath.FromSlash(name)), name: name}
}

func (r repository) file(kind, base string) string { return filepath.Join(r.dir, kind, base) }

func (r repository) put(kind, base string, data []byte) error {
	dir := filepath.Join(r.dir, kind)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s of %s: %w", kind, r.name, err)
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return fmt.Errorf("write %s of %s: %w", kind, r.name, err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, base))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s of %s: %w", kind, r.name, err)
	}
	return nil
}

// get answers fs.ErrNotExist for what is not there.
func (r repository) get(kind, base string) ([]byte, error) { return os.ReadFile(r.file(kind, base)) }

func (r repository) has(kind, base string) bool {
	_, err := os.Stat(r.file(kind, base))
	return err == nil
}

func (r repository) drop(kind, base string) error {
	if err := os.Remove(r.file(kind, base)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s of %s: %w", kind, r.name, err)
	}
	return nil
}

// list lists the names in one kind that start with prefix, the prefix cut off, sorted.
func (r repository) list(kind, prefix string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, kind))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s of %s: %w", kind, r.name, err)
	}
	var out []string
	for _, e := range entries {
		if n, ok := strings.CutPrefix(e.Name(), prefix); ok && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, n)
		}
	}
	sort.Strings(out)
	return out, nil
}

// exists: a repository is there as soon as something is in it.
func (r repository) exists() bool {
	for _, kind := range []string{"_manifests", "_blobs", "_tags"} {
		if _, err := os.Stat(filepath.Join(r.dir, kind)); err == nil {
			return true
		}
	}
	return false
}

func (r repository) hasBlob(d digest.Digest) bool { return r.has("_blobs", content.PinName(d)) }
func (r repository) linkBlob(d digest.Digest) error {
	return r.put("_blobs", content.PinName(d), nil)
}

// resolve finds the manifest that a tag or digest means; fs.ErrNotExist if there is none.
func (r repository) resolve(reference string) (digest.Digest, string, error) {
	d := digest.Digest(reference)
	if d.Validate() != nil {
		if !tagRule.MatchString(reference) {
			return "", "", fs.ErrNotExist
		}
		b, err := r.get("_tags", "tag-"+reference)
		if err != nil {
			return "", "", err
		}
		d = digest.Digest(b)
		if d.Validate() != nil {
			return "", "", fs.ErrNotExist
		}
	}
	media, err := r.get("_manifests", content.PinName(d))
	return d, string(media), err
}

func (r repository) setTag(tag string, d digest.Digest) error {
	return r.put("_tags", "tag-"+tag, []byte(d))
}

func (r repository) addReferrer(subject digest.Digest, desc ocispec.Descriptor) error {
	b, err := json.Marshal(desc)
	if err != nil {
		return err
	}
	return r.put(filepath.Join("_referrers", "of-"+content.PinName(subject)), content.PinName(desc.Digest), b)
}

// repositories lists the names of all repositories with a manifest, sorted.
func (g *Registry) repositories() ([]string, error) {
	var names []string
	err := filepath.WalkDir(g.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // deleted while we walk
			}
			return err
		}
		if !e.IsDir() || p == g.dir {
			return nil
		}
		if !strings.HasPrefix(e.Name(), "_") {
			return nil
		}
		if e.Name() == "_manifests" {
			name, err := filepath.Rel(g.dir, filepath.Dir(p))
			if err != nil {
				return err
			}
			if has, err := (repository{dir: filepath.Dir(p), name: name}).list("_manifests", ""); err == nil && len(has) > 0 {
				names = append(names, filepath.ToSlash(name))
			}
		}
		return fs.SkipDir
	})
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	sort.Strings(names)
	return names, nil
}

func (r repository) modified(kind, base string) (time.Time, error) {
	st, err := os.Stat(r.file(kind, base))
	if err != nil {
		return time.Time{}, err
	}
	return st.ModTime(), nil
}
