package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	gofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tonistiigi/fsutil"
)

// stated is a result's files with what is said about them beside: provenance.json, and what scanners say. The
// exporter's attestation-prefix goes before the names.
func (s *Server) stated(j *job, r *result, files fsutil.FS, e exporter, alone bool) (fsutil.FS, error) {
	if len(r.scans) == 0 && !r.proven(e) {
		return files, nil
	}
	about, err := subjectFiles(j.ctx, files)
	if err != nil {
		return nil, err
	}
	dir, release, err := s.cfg.Builder.Scratch()
	if err != nil {
		return nil, err
	}
	j.later(release)
	suffix := ".json"
	if !alone {
		suffix = "." + strings.ReplaceAll(r.platform, "/", "_") + suffix
	}
	write := func(name, kind string, predicate any) error {
		b, err := json.MarshalIndent(inToto{statementType, kind, about, predicate}, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, e.attrs["attestation-prefix"]+name+suffix), b, 0o644)
	}
	if r.proven(e) {
		kind, predicate := r.facts.predicate()
		if err := write("provenance", kind, predicate); err != nil {
			return nil, err
		}
	}
	for i, scan := range r.scans {
		name := "sbom.spdx"
		if i > 0 {
			name = "sbom-" + strconv.Itoa(i+1) + ".spdx"
		}
		if err := write(name, scan.kind, scan.predicate); err != nil {
			return nil, err
		}
	}
	said, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, err
	}
	return &beside{files, said}, nil
}

// subjectFiles are the regular files of a result with their digests: what is said of a folder is said of them.
func subjectFiles(ctx context.Context, files fsutil.FS) (out []subject, err error) {
	out = []subject{}
	err = files.Walk(ctx, "", func(name string, e gofs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		out = append(out, subject{filepath.ToSlash(name), digestSet{"sha256": hex.EncodeToString(h.Sum(nil))}})
		return nil
	})
	return out, err
}

// beside shows a few files of a folder beside those of a tree; one of the same name stands in for the tree's.
type beside struct {
	tree fsutil.FS
	few  fsutil.FS
}

// Walk goes through both in the order of names, which those who send the files rely on.
func (b *beside) Walk(ctx context.Context, target string, f gofs.WalkDirFunc) error {
	type found struct {
		name  string
		entry gofs.DirEntry
	}
	var few []found
	err := b.few.Walk(ctx, target, func(name string, e gofs.DirEntry, err error) error {
		few = append(few, found{name, e})
		return err
	})
	if err != nil {
		return err
	}
	err = b.tree.Walk(ctx, target, func(name string, e gofs.DirEntry, err error) error {
		for len(few) > 0 && fsutil.ComparePath(few[0].name, name) <= 0 {
			next := few[0]
			if few = few[1:]; next.name == name {
				return f(next.name, next.entry, nil)
			}
			if err := f(next.name, next.entry, nil); err != nil {
				return err
			}
		}
		return f(name, e, err)
	})
	for _, next := range few {
		if err == nil {
			err = f(next.name, next.entry, nil)
		}
	}
	return err
}

func (b *beside) Open(name string) (io.ReadCloser, error) {
	if r, err := b.few.Open(name); err == nil {
		return r, nil
	}
	return b.tree.Open(name)
}
