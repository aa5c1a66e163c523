package docker

import (
	"errors"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
)

// archived reads the platforms that an archive is to have or to be read for; several of them are known from API 1.52 on.
func archived(c *call) ([]ocispec.Platform, error) {
	if !c.atLeast("1.48") {
		return nil, nil
	}
	if len(c.query["platform"]) > 1 && !c.atLeast("1.52") {
		return nil, badRequest("multiple platform parameters are not supported in this API version; use API version 1.52 or later")
	}
	return platformsOf(c, "platform")
}

// saveImages answers GET /images/get and /images/{name}/get.
func (s *Server) saveImages(c *call) error {
	refs := c.query["names"]
	if v := c.vars["name"]; v != "" {
		refs = []string{v}
	}
	if len(refs) == 1 && strings.Contains(refs[0], ",") {
		refs = strings.Split(refs[0], ",")
	}
	platforms, err := archived(c)
	if err != nil {
		return err
	}
	var saved []string
	for _, ref := range refs {
		img, err := s.image(ref)
		if err != nil {
			if named, perr := reference.ParseNormalizedNamed(ref); perr == nil && reference.IsNameOnly(named) && len(s.tagged(named)) > 0 {
				for _, t := range s.tagged(named) { // a repository brings all its tags
					saved = append(saved, t.String())
				}
				continue
			}
			return err
		}
		saved = append(saved, img.ID.String())
		for _, p := range platforms {
			if _, err := s.e.Images.On(ref, p); err != nil {
				var none *image.NoPlatformError
				if errors.As(err, &none) {
					return notFound("no suitable export target found: %v", provides(ref, none))
				}
				return err
			}
		}
	}
	c.w.Header().Set("Content-Type", "application/x-tar")
	if err := s.e.Images.Export(c.ctx(), c.w, image.ExportOptions{Platforms: platforms}, refs...); err != nil {
		return err
	}
	for _, ref := range saved {
		if img, err := s.image(ref); err == nil {
			s.imageEvent("save", img.ID.String(), img.ID.String())
		}
	}
	return nil
}

// loadImages answers POST /images/load.
func (s *Server) loadImages(c *call) error {
	opts := image.ImportOptions{}
	var err error
	if opts.Platforms, err = archived(c); err != nil {
		return err
	}
	p := newProgress(c)
	quiet := c.flag("quiet")
	opts.Progress = func(e image.Event) {
		if strings.HasPrefix(e.Status, "Loaded image") {
			p.put(line{Stream: e.Status + "\n"})
		} else if !quiet && e.ID != "" {
			p.event(e)
		}
	}
	loaded, err := s.e.Images.Import(c.ctx(), c.Body, opts)
	for _, img := range loaded {
		s.imageEvent("load", img.ID.String(), img.ID.String())
	}
	var none *image.NoPlatformError
	var bad *image.ArchiveError
	switch {
	case errors.As(err, &bad):
		err = bad
	case errors.As(err, &none):
		err = fail(http.StatusNotFound, "requested platform(s) (%v) not found: %v", []string{image.FormatPlatform(none.Platform)}, err)
	}
	p.begin() // whatever there is to say of an archive comes in the stream
	return p.finish(err)
}
