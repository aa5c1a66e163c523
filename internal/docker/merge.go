package docker

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/image"
)

// imageConfig reads an image's configuration with Docker's extensions.
func imageConfig(img *image.Image) dockerspec.DockerOCIImageConfig {
	var doc struct {
		Config dockerspec.DockerOCIImageConfig `json:"config"`
	}
	_ = json.Unmarshal(img.RawConfig, &doc)
	return doc.Config
}

// merge fills a container's configuration with its image's. Source: the rules that Docker's documentation gives for CMD, ENTRYPOINT,
// ENV, EXPOSE, VOLUME, HEALTHCHECK.
func merge(c *dc.Config, img dockerspec.DockerOCIImageConfig) {
	if c.User == "" {
		c.User = img.User
	}
	for p := range img.ExposedPorts {
		port, err := dn.ParsePort(p)
		if err != nil {
			continue
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = dn.PortSet{}
		}
		c.ExposedPorts[port] = struct{}{}
	}
	env := slices.Clone(img.Env)
	for _, kv := range c.Env {
		name, _, _ := strings.Cut(kv, "=")
		env = slices.DeleteFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
	}
	c.Env = append(slices.Clone(c.Env), env...)
	labels := maps.Clone(img.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	c.Labels = labels
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = img.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = img.Entrypoint
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil
	}
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	if len(c.Volumes) == 0 {
		c.Volumes = nil
	}
	for v := range img.Volumes {
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		c.Volumes[v] = struct{}{}
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
	switch h := c.Healthcheck; {
	case img.Healthcheck == nil:
	case h == nil:
		c.Healthcheck = img.Healthcheck
	default:
		if len(h.Test) == 0 {
			h.Test = img.Healthcheck.Test
		}
		if h.Interval == 0 {
			h.Interval = img.Healthcheck.Interval
		}
		if h.Timeout == 0 {
			h.Timeout = img.Healthcheck.Timeout
		}
		if h.StartPeriod == 0 {
			h.StartPeriod = img.Healthcheck.StartPeriod
		}
		if h.StartInterval == 0 {
			h.StartInterval = img.Healthcheck.StartInterval
		}
		if h.Retries == 0 {
			h.Retries = img.Healthcheck.Retries
		}
	}
}
