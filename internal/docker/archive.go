package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/distribution/reference"
	dc "github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/container"
	"nau/internal/engine/layer"
	"nau/internal/kernel"
)

func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return 0
}

// view shows a container's root file system: as its processes see it while it runs, else its layers mounted for the time being.
func (s *Server) view(ctx context.Context, r *container.Record) (root string, done func(), err error) {
	if running(r) && r.Pid > 0 {
		return "/proc/" + itoa(r.Pid) + "/root", func() {}, nil
	}
	m, err := s.e.Layers.Mounts(ctx, r.ID)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(s.e.Config().RunDir, "view-")
	if err != nil {
		return "", nil, err
	}
	unlock := s.op.lock(r.ID) // so that it is not started over the same writable layer meanwhile
	if err := m.Attach(dir); err != nil {
		unlock()
		os.Remove(dir)
		return "", nil, err
	}
	return dir, func() {
		if err := kernel.Unmount(dir); err != nil {
			s.log.Warn("unmount view", "error", err)
		}
		os.Remove(dir)
		unlock()
	}, nil
}

func missing(c *call, name string) error {
	return notFound("Could not find the file %s in container %s", name, c.vars["id"])
}

// archive finds the container and path of an archive request.
func (s *Server) archive(c *call) (*container.Record, string, error) {
	r, err := s.byID(c)
	if err != nil {
		return nil, "", err
	}
	if c.get("path") == "" {
		return nil, "", badRequest("missing \"path\" parameter")
	}
	return r, c.get("path"), nil
}

// statHeader puts a path's description into the answer's head.
func statHeader(c *call, root, name string) error {
	info, err := layer.Stat(root, name)
	if errors.Is(err, layer.ErrNotFound) {
		return missing(c, name)
	}
	if err != nil {
		return err
	}
	b, err := json.Marshal(dc.PathStat{Name: info.Name, Size: info.Size, Mode: info.Mode, Mtime: info.Mtime, LinkTarget: info.Target})
	if err != nil {
		return err
	}
	c.w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(b))
	return nil
}

func (s *Server) statArchive(c *call) error {
	r, name, err := s.archive(c)
	if err != nil {
		return err
	}
	root, done, err := s.view(c.ctx(), r)
	if err != nil {
		return err
	}
	defer done()
	if err := statHeader(c, root, name); err != nil {
		return err
	}
	return c.done(http.StatusOK)
}

func (s *Server) getArchive(c *call) error {
	r, name, err := s.archive(c)
	if err != nil {
		return err
	}
	root, done, err := s.view(c.ctx(), r)
	if err != nil {
		return err
	}
	defer done()
	if err := statHeader(c, root, name); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/x-tar")
	return layer.ArchivePath(c.ctx(), c.w, root, name)
}

func (s *Server) putArchive(c *call) error {
	r, name, err := s.archive(c)
	if err != nil {
		return err
	}
	root, done, err := s.view(c.ctx(), r)
	if err != nil {
		return err
	}
	defer done()
	if r.Config.Security.ReadOnlyRoot {
		writable := false
		for _, m := range load(r).Mounts {
			writable = writable || m.RW && (name == m.Destination || len(name) > len(m.Destination) && name[:len(m.Destination)+1] == m.Destination+"/")
		}
		if !writable {
			return fail(http.StatusForbidden, "container rootfs is marked read-only")
		}
	}
	info, err := layer.Stat(root, path.Clean(name)+"/.")
	if errors.Is(err, layer.ErrNotFound) {
		return missing(c, name)
	}
	if err == nil && !info.Mode.IsDir() {
		return badRequest("extraction point is not a directory")
	}
	err = layer.Extract(c.ctx(), root, name, c.Body, layer.ExtractOptions{Overwrite: !c.flag("noOverwriteDirNonDir")})
	if err != nil {
		return err
	}
	s.hub.container("extract-to-dir", r, map[string]string{"path": name})
	return c.done(http.StatusOK)
}

func (s *Server) getChanges(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	all, err := s.e.Layers.Changes(c.ctx(), r.ID)
	if err != nil {
		return err
	}
	out := []dc.FilesystemChange{}
	for _, ch := range visible(all, r) {
		out = append(out, dc.FilesystemChange{Kind: dc.ChangeType(ch.Kind), Path: ch.Path})
	}
	return c.json(http.StatusOK, out)
}

// visible leaves out what the runtime made itself: places for mounts, and folders changed by that alone.
func visible(all []layer.Change, r *container.Record) []layer.Change {
	made := map[string]bool{"/etc/hostname": true, "/etc/hosts": true, "/etc/resolv.conf": true, "/dev": true, "/proc": true, "/sys": true}
	for _, m := range r.Config.Mounts {
		made[path.Clean(m.Target)] = true
	}
	keep := make([]bool, len(all))
	touched := map[string]bool{}         // folders in which something counts
	for i := len(all) - 1; i >= 0; i-- { // sorted by path: what lies in a folder comes after it
		c := all[i]
		mine := made[c.Path] && c.Kind != layer.Deleted
		for dir := path.Dir(c.Path); dir != "/"; dir = path.Dir(dir) {
			mine = mine || made[dir] && dir != "/etc"
		}
		inner := false // only here because of mounts inside
		for m := range made {
			inner = inner || strings.HasPrefix(m, c.Path+"/")
		}
		keep[i] = !mine && (!inner || touched[c.Path] || c.Kind == layer.Deleted)
		if keep[i] {
			for dir := path.Dir(c.Path); dir != "/"; dir = path.Dir(dir) {
				touched[dir] = true
			}
		}
	}
	var out []layer.Change
	for i, c := range all {
		if keep[i] {
			out = append(out, c)
		}
	}
	return out
}

func (s *Server) exportContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	root := s.e.Containers.Rootfs(r.ID)
	if !running(r) {
		dir, done, err := s.view(c.ctx(), r)
		if err != nil {
			return err
		}
		defer done()
		root = dir
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	s.hub.container("export", r, nil)
	return layer.Archive(c.ctx(), c.w, root)
}

// commitContainer answers POST /commit.
func (s *Server) commitContainer(c *call) error {
	r, err := s.find(c.get("container"))
	if err != nil {
		return err
	}
	var given dc.Config
	if err := readJSON(c.Request, &given); err != nil {
		return err
	}
	name := c.get("repo")
	if name != "" {
		if tag := c.get("tag"); tag != "" {
			name += ":" + tag
		}
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return badRequest("invalid reference format")
		}
		name = reference.TagNameOnly(named).String()
	}
	img, err := s.e.Images.Get(r.Image.String())
	if err != nil {
		return err
	}
	st := load(r)
	cfg := imageOfConfig(st.Config)
	if cfg, err = changed(cfg, c.query["changes"]); err != nil {
		return err
	}
	if running(r) && r.State == container.Running && c.flagOr("pause", true) {
		if err := s.e.Containers.Pause(c.ctx(), r.ID); err != nil {
			return err
		}
		defer s.e.Containers.Resume(context.WithoutCancel(c.ctx()), r.ID)
	}
	now := time.Now().UTC()
	doc := img.Config
	doc.Config, doc.Created, doc.Author = cfg, &now, c.get("author")
	path, args := command(st)
	made, err := s.e.Images.Commit(c.ctx(), r.ID, img.ID, doc, ocispec.History{Created: &now, Author: c.get("author"), Comment: c.get("comment"), CreatedBy: commandLine(path, args)}, name)
	if err != nil {
		return err
	}
	s.hub.container("commit", r, map[string]string{"comment": c.get("comment"), "imageID": made.ID.String(), "imageRef": name})
	return c.json(http.StatusCreated, dc.CommitResponse{ID: made.ID.String()})
}

// imageOfConfig is a container's configuration as an image has it.
func imageOfConfig(c *dc.Config) ocispec.ImageConfig {
	out := ocispec.ImageConfig{User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Volumes: c.Volumes, WorkingDir: c.WorkingDir, Labels: c.Labels, StopSignal: c.StopSignal}
	for p := range c.ExposedPorts {
		if out.ExposedPorts == nil {
			out.ExposedPorts = map[string]struct{}{}
		}
		out.ExposedPorts[p.String()] = struct{}{}
	}
	return out
}
