package docker

import (
	"encoding/json"
	"errors"

	di "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
)

// manifests are what an image's names stand for, as lists and inspections tell it from API 1.47 on.
func (s *Server) manifests(img *image.Image) []di.ManifestSummary {
	users := map[digest.Digest][]string{}
	for _, r := range s.e.Containers.List() {
		users[r.Image] = append(users[r.Image], r.ID)
	}
	out := []di.ManifestSummary{}
	for _, m := range s.e.Images.Manifests(img) {
		d := di.ManifestSummary{ID: m.Descriptor.Digest.String(), Descriptor: m.Descriptor, Available: m.Available, Kind: di.ManifestKindImage}
		d.Size.Content, d.Size.Total = m.Content, m.Content+m.Unpacked
		switch {
		case m.Attests != "":
			d.Kind = di.ManifestKindAttestation
			d.AttestationData = &di.AttestationProperties{For: m.Attests}
		default:
			d.ImageData = &di.ImageProperties{Platform: m.Platform, Containers: users[m.Image]}
			d.ImageData.Size.Unpacked = m.Unpacked
		}
		out = append(out, d)
	}
	return out
}

// platformOf reads the parameter platform, which is known from a version of the API on: a platform as JSON. nil stands for none asked for.
func platformOf(c *call, since string) (*ocispec.Platform, error) {
	text := c.get("platform")
	if text == "" || !c.atLeast(since) {
		return nil, nil
	}
	p, err := platformIn(text)
	return &p, err
}

func platformIn(text string) (p ocispec.Platform, err error) {
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return p, badRequest("failed to parse platform: %v", err)
	}
	if p.OS == "" || p.Architecture == "" {
		return p, badRequest("failed to parse platform: %s: both os and architecture are needed", text)
	}
	return p, nil
}

// platformsOf reads a parameter that may be repeated.
func platformsOf(c *call, name string) (out []ocispec.Platform, err error) {
	for _, text := range c.query[name] {
		p, err := platformIn(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// imageOn finds the image of a request, on the platform that it asks for, if it asks in a version of the API that knows it.
func (s *Server) imageOn(c *call, since string) (*image.Image, error) {
	name := c.vars["name"]
	p, err := platformOf(c, since)
	if err != nil {
		return nil, err
	}
	return s.imageFor(name, p)
}

// imageFor finds an image on a platform; nil is what is shown.
func (s *Server) imageFor(name string, p *ocispec.Platform) (*image.Image, error) {
	img, err := s.image(name)
	if err != nil || p == nil {
		return img, err
	}
	img, err = s.e.Images.On(name, *p)
	var none *image.NoPlatformError
	if errors.As(err, &none) {
		return nil, provides(name, none)
	}
	return img, err
}

func formatted(list []ocispec.Platform) (out []string) {
	for _, p := range list {
		out = append(out, image.FormatPlatform(p))
	}
	return out
}

// provides words that an image is not here for a platform.
func provides(name string, e *image.NoPlatformError) error {
	return notFound("image with reference %s was found but does not provide the specified platform (%s)", name, image.FormatPlatform(e.Platform))
}

// attestations answers GET /images/{name}/attestations.
func (s *Server) attestations(c *call) error {
	if !c.atLeast("1.55") {
		return badRequest("GET /images/{name:.*}/attestations requires minimum API version 1.55")
	}
	if len(c.query["platform"]) > 1 {
		return badRequest("only one platform value is currently supported")
	}
	want, err := platformOf(c, "1.55")
	if err != nil {
		return err
	}
	name := c.vars["name"]
	img, err := s.image(name)
	if err != nil {
		return err
	}
	if want != nil {
		img, err = s.e.Images.On(name, *want)
		if errors.Is(err, image.ErrNoPlatform) {
			return notFound("no manifest for platform %s: not found", image.FormatPlatform(*want))
		}
		if err != nil {
			return err
		}
	}
	kinds := map[string]bool{}
	for _, k := range c.query["type"] {
		kinds[k] = true
	}
	out := []di.AttestationStatement{}
	for _, d := range s.e.Images.Statements(img) {
		st := di.AttestationStatement{Descriptor: d, PredicateType: image.Predicate(d)}
		if len(kinds) > 0 && !kinds[st.PredicateType] {
			continue
		}
		if c.flag("statement") {
			b, err := s.e.Images.ReadStatement(d)
			if err != nil {
				return err
			}
			raw := json.RawMessage(b)
			st.Statement = &raw
		}
		out = append(out, st)
	}
	return c.json(200, out)
}
