package docker

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"syscall"

	dc "github.com/moby/moby/api/types/container"

	"nau/internal/engine/container"
	"nau/internal/engine/layer"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
)

func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return 0
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
		return nil, "", badRequest("bad parameter: path cannot be empty")
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
	root, done, err := s.view(c.ctx(), r, true)
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
	root, done, err := s.view(c.ctx(), r, true)
	if err != nil {
		return err
	}
	defer done()
	if err := statHeader(c, root, name); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/x-tar")
	s.hub.container("archive-path", r, nil)
	return layer.ArchivePath(c.ctx(), c.w, root, name, r.Owners)
}

func (s *Server) putArchive(c *call) error {
	r, name, err := s.archive(c)
	if err != nil {
		return err
	}
	root, done, err := s.view(c.ctx(), r, true)
	if err != nil {
		return err
	}
	defer done()
	at, err := layer.Resolve(root, name)
	if errors.Is(err, layer.ErrNotFound) {
		return missing(c, name)
	}
	if err != nil {
		return err
	}
	if err := writable(at, r.Config.Security.ReadOnlyRoot, load(r).Mounts); err != nil {
		return err
	}
	info, err := layer.Stat(root, path.Clean(name)+"/.")
	if errors.Is(err, layer.ErrNotFound) {
		return missing(c, name)
	}
	if errors.Is(err, syscall.ENOTDIR) || err == nil && !info.Mode.IsDir() {
		return badRequest("extraction point is not a directory")
	}
	owner, err := s.copyOwner(c, r, root)
	if err != nil {
		return err
	}
	err = layer.Extract(c.ctx(), root, name, c.Body, layer.ExtractOptions{Owner: owner, Overwrite: !c.flag("noOverwriteDirNonDir"), Owners: r.Owners})
	if err != nil {
		return err
	}
	s.hub.container("extract-to-dir", r, nil)
	return c.done(http.StatusOK)
}

// copyOwner is whom copied files belong to where the client wants it so: the container's user, if it names one.
func (s *Server) copyOwner(c *call, r *container.Record, root string) (*[2]int, error) {
	user := load(r).Config.User
	if !c.flag("copyUIDGID") || user == "" {
		return nil, nil
	}
	fd, err := kernel.OpenPath(root)
	if err != nil {
		return nil, err
	}
	defer kernel.Close(fd)
	u, err := spec.LookupUser(fd, spec.User{Name: user}, "")
	if err != nil {
		return nil, badRequest("%s", oneLine(err))
	}
	return &[2]int{int(u.UID), int(u.GID)}, nil
}

// writable refuses a path that a client may not copy to: on a read-only root, or in a volume that the container has read-only.
func writable(name string, readOnlyRoot bool, mounts []dc.MountPoint) error {
	name = path.Clean("/" + name)
	var at *dc.MountPoint // the innermost mount above the path
	for i, m := range mounts {
		if (name == m.Destination || strings.HasPrefix(name, strings.TrimSuffix(m.Destination, "/")+"/")) && (at == nil || len(m.Destination) > len(at.Destination)) {
			at = &mounts[i]
		}
	}
	switch {
	case at != nil && !at.RW:
		return badRequest("mounted volume is marked read-only")
	case at == nil && readOnlyRoot:
		return badRequest("container rootfs is marked read-only")
	}
	return nil
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
		dir, done, err := s.view(c.ctx(), r, false)
		if err != nil {
			return err
		}
		defer done()
		root = dir
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	s.hub.container("export", r, nil)
	return layer.Archive(c.ctx(), c.w, root, r.Owners)
}
