package docker

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	dc "github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/build"
	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/oci/monitor"
)

// commitContainer answers POST /commit.
func (s *Server) commitContainer(c *call) error {
	r, err := s.find(c.get("container"))
	if err != nil {
		return err
	}
	var given *dc.Config
	if err := readJSON(c.Request, &given); err != nil {
		return err
	}
	name, err := newName(c)
	if err != nil {
		return err
	}
	img, err := s.e.Images.Get(r.Image.String())
	if err != nil {
		return err
	}
	st := load(r)
	cfg := imageOfConfig(st.Config)
	if given != nil { // what it leaves out is the container's
		merge(given, cfg)
		cfg = imageOfConfig(given)
	}
	if cfg, err = changed(cfg, c.query["changes"]); err != nil {
		return err
	}
	if running(r) && r.State == container.Running && c.flagOr("pause", true) {
		switch err := s.e.Containers.Pause(c.ctx(), r.ID); {
		case err == nil:
			defer s.e.Containers.Resume(context.WithoutCancel(c.ctx()), r.ID)
		case !errors.Is(err, container.ErrState) && !errors.Is(err, monitor.ErrState): // else another paused it, or it has ended
			return err
		}
	}
	now := time.Now().UTC()
	doc := dockerspec.DockerOCIImage{Image: img.Config, Config: cfg}
	doc.Created, doc.Author = &now, c.get("author")
	path, args := command(st)
	made, err := s.e.Images.Commit(c.ctx(), r.ID, img.ID, doc, ocispec.History{Created: &now, Author: c.get("author"), Comment: c.get("comment"), CreatedBy: commandLine(path, args)}, name)
	if err != nil {
		return err
	}
	s.imageEvent("create", made.ID.String(), made.ID.String())
	if named, err := reference.ParseNormalizedNamed(name); name != "" && err == nil {
		s.imageEvent("tag", made.ID.String(), reference.FamiliarString(reference.TagNameOnly(named)))
	}
	s.hub.container("commit", r, map[string]string{"comment": c.get("comment"), "imageID": made.ID.String(), "imageRef": name})
	return c.json(http.StatusCreated, dc.CommitResponse{ID: made.ID.String()})
}

// newName reads the name that an image is to have; "" for none.
func newName(c *call) (string, error) {
	name := c.get("repo")
	if name == "" {
		return "", nil
	}
	if tag := c.get("tag"); tag != "" {
		name += ":" + tag
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", badRequest("invalid reference format")
	}
	if _, digested := named.(reference.Digested); digested {
		return "", badRequest("cannot import digest reference")
	}
	return reference.TagNameOnly(named).String(), nil
}

// imageOfConfig is a container's configuration as an image has it.
func imageOfConfig(c *dc.Config) dockerspec.DockerOCIImageConfig {
	out := dockerspec.DockerOCIImageConfig{
		ImageConfig:             ocispec.ImageConfig{User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Volumes: c.Volumes, WorkingDir: c.WorkingDir, Labels: c.Labels, StopSignal: c.StopSignal},
		DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{Healthcheck: c.Healthcheck, OnBuild: c.OnBuild, Shell: c.Shell}}
	for p := range c.ExposedPorts {
		if out.ExposedPorts == nil {
			out.ExposedPorts = map[string]struct{}{}
		}
		out.ExposedPorts[p.String()] = struct{}{}
	}
	return out
}

// changed applies the instructions of docker commit --change and docker import --change.
func changed(c dockerspec.DockerOCIImageConfig, changes []string) (dockerspec.DockerOCIImageConfig, error) {
	out, err := build.Change(c, changes)
	if err != nil {
		return c, badRequest("%v", err)
	}
	return out, nil
}

// importImage makes an image of a root file system archive, which the client sends or an address has.
func (s *Server) importImage(c *call, src string) error {
	name, err := newName(c)
	if err != nil {
		return err
	}
	cfg, err := changed(dockerspec.DockerOCIImageConfig{}, c.query["changes"])
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	doc := dockerspec.DockerOCIImage{Config: cfg}
	doc.Created, doc.Platform = &now, image.HostPlatform()
	if p, err := asked(c.get("platform")); err != nil {
		return err
	} else if p != nil {
		if doc.Platform = *p; doc.OS != "linux" {
			return badRequest("operating system is not supported")
		}
	}
	p := newProgress(c)
	archive := io.Reader(c.Body)
	comment := c.get("message")
	if src != "-" {
		if !strings.Contains(src, "://") {
			src = "http://" + src
		}
		body, size, err := download(c.ctx(), src)
		if err != nil {
			return err
		}
		defer body.Close()
		p.put(line{Status: "Downloading from " + src})
		archive = &counted{Reader: body, total: size, tell: func(l line) { p.put(l) }}
	}
	if comment == "" {
		comment = "Imported from " + src
	}
	img, err := s.e.Images.ImportRootFS(c.ctx(), archive, doc, ocispec.History{Created: &now, Comment: comment}, name)
	if err != nil {
		return p.finish(plainArchive(err))
	}
	p.put(line{Status: img.ID.String()})
	s.imageEvent("import", img.ID.String(), name)
	return nil
}

// plainArchive says of an archive that is none just that.
func plainArchive(err error) error {
	for _, plain := range []error{tar.ErrHeader, io.ErrUnexpectedEOF} {
		if errors.Is(err, layer.ErrArchive) && errors.Is(err, plain) {
			return badRequest("%v", plain)
		}
	}
	return err
}

// download opens what an address has.
func download(ctx context.Context, address string) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "" {
		return nil, 0, badRequest("invalid address of an archive: %s", address)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err // which names the address
	}
	if res.StatusCode >= 400 {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		res.Body.Close()
		code := http.StatusInternalServerError
		if res.StatusCode == http.StatusNotFound {
			code = res.StatusCode
		}
		return nil, 0, fail(code, "failed to GET %s with status %s: %s", address, res.Status, strings.TrimSpace(string(said)))
	}
	return res.Body, res.ContentLength, nil
}

// counted tells how far the reading of something has come, every few megabytes.
type counted struct {
	io.Reader
	total, read, told int64
	tell              func(line)
}

func (r *counted) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if r.read += int64(n); r.total > 0 && (r.read-r.told >= 4<<20 || r.read == r.total && r.told < r.total) {
		r.told = r.read
		r.tell(line{Status: "Importing", Detail: &detail{r.read, r.total}})
	}
	return n, err
}
