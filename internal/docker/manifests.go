package docker

import (
	"encoding/json"
	"net/http"

	di "github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
)

// manifests are what an image's names stand for, as lists and inspections tell it from API 1.47 on.
func (s *Server) manifests(img *image.Image) ([]di.ManifestSummary, error) {
	list, err := s.e.Images.Manifests(img)
	if err != nil {
		return nil, err
	}
	users := []string{}
	for _, r := range s.e.Containers.List() {
		if r.Image == img.ID {
			users = append(users, r.ID)
		}
	}
	out := []di.ManifestSummary{}
	for _, m := range list {
		d := di.ManifestSummary{ID: m.Descriptor.Digest.String(), Descriptor: m.Descriptor, Available: m.Available, Kind: di.ManifestKindImage}
		d.Size.Content, d.Size.Total = m.Content, m.Content+m.Unpacked
		switch {
		case m.Attests != "":
			d.Kind = di.ManifestKindAttestation
			d.AttestationData = &di.AttestationProperties{For: m.Attests}
		default:
			d.ImageData = &di.ImageProperties{Platform: m.Platform, Containers: []string{}}
			d.ImageData.Size.Unpacked = m.Unpacked
			if m.Descriptor.Digest == img.Manifest.Digest {
				d.ImageData.Containers = users
			}
		}
		out = append(out, d)
	}
	return out, nil
}

// platformOf reads the parameter of API 1.49 and newer: a platform as JSON. nil stands for none asked for.
func platformOf(c *call) (*ocispec.Platform, error) {
	text := c.get("platform")
	if text == "" {
		return nil, nil
	}
	var p ocispec.Platform
	if err := json.Unmarshal([]byte(text), &p); err != nil || p.OS == "" || p.Architecture == "" {
		return nil, badRequest("invalid platform: %q: a JSON document with os and architecture is needed", text)
	}
	return &p, nil
}

// platformsOf reads a parameter that names several: repeated, or as one JSON list.
func platformsOf(c *call, name string) (out []ocispec.Platform, err error) {
	for _, text := range c.query[name] {
		var list []json.RawMessage
		if json.Unmarshal([]byte(text), &list) != nil {
			list = []json.RawMessage{json.RawMessage(text)}
		}
		for _, one := range list {
			var p ocispec.Platform
			if err := json.Unmarshal(one, &p); err != nil || p.OS == "" || p.Architecture == "" {
				return nil, badRequest("invalid platform: %q: a JSON document with os and architecture is needed", text)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// provides refuses an image that is here for another platform than all of those asked for.
func provides(img *image.Image, name string, platforms []ocispec.Platform) error {
	for _, p := range platforms {
		if !image.Suits(p, img) {
			return fail(http.StatusNotFound, "image with reference %s was found but does not provide the specified platform (%s)", name, image.FormatPlatform(p))
		}
	}
	return nil
}

// onPlatform refuses an image that is here for another platform than the one asked for.
func onPlatform(c *call, img *image.Image, name string) error {
	p, err := platformOf(c)
	if err != nil || p == nil {
		return err
	}
	return provides(img, name, []ocispec.Platform{*p})
}
