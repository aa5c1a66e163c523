package docker

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
	"nau/internal/engine/image/remote"
)

// registryHost is the host of a server's address as clients write it: Docker Hub's goes by a URL of its own.
func registryHost(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Host
	}
	address, _, _ = strings.Cut(strings.TrimPrefix(address, "//"), "/")
	switch address {
	case "", "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return address
}

// postAuth answers POST /auth: the registry itself is asked.
func (s *Server) postAuth(c *call) error {
	var a registry.AuthConfig
	if err := readJSON(c.Request, &a); err != nil {
		return err
	}
	client := remote.New(s.e.Config().Registries)
	defer client.Close()
	host := registryHost(a.ServerAddress)
	if err := client.Login(c.ctx(), host, *authOf(a)); err != nil {
		if errors.Is(err, image.ErrUnauthorized) {
			return fail(http.StatusUnauthorized, "login attempt to %s failed with status: 401 Unauthorized", host)
		}
		return err
	}
	return c.json(http.StatusOK, registry.AuthResponse{Status: "Login Succeeded"})
}

// inspectDistribution answers GET /distribution/{name}/json: what the registry has, without a pull.
func (s *Server) inspectDistribution(c *call) error {
	named, err := reference.ParseDockerRef(c.vars["name"])
	if err != nil {
		return badRequest("invalid reference format")
	}
	auth := image.Auth{}
	if a := credentials(c.Header.Get(registry.AuthHeader)); a != nil {
		auth = *a
	}
	client := remote.New(s.e.Config().Registries)
	defer client.Close()
	repository, err := client.Repository(reference.Domain(named), reference.Path(named), auth)
	if err != nil {
		return err
	}
	tag := "latest"
	switch r := named.(type) {
	case reference.Digested:
		tag = r.Digest().String()
	case reference.Tagged:
		tag = r.Tag()
	}
	desc, data, err := repository.Manifest(c.ctx(), tag)
	if err != nil {
		return pullError(c.vars["name"], nil, err)
	}
	out := registry.DistributionInspect{Descriptor: desc, Platforms: []ocispec.Platform{}}
	var index ocispec.Index
	if json.Unmarshal(data, &index) == nil {
		for _, m := range index.Manifests {
			if m.Platform != nil {
				out.Platforms = append(out.Platforms, *m.Platform)
			}
		}
	}
	return c.json(http.StatusOK, out)
}
