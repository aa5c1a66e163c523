package image

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
)

// DockerConfig is the part of docker's config.json, or of a kubernetes.io/dockerconfigjson secret, that pulls need.
type DockerConfig struct {
	Auths map[string]dockerAuth `json:"auths"`
}

type dockerAuth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"` // base64 of user:password
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// ParseDockerConfig reads config.json, or the older .dockercfg that is the map alone. Credential helpers are programs and are never run.
func ParseDockerConfig(data []byte) (*DockerConfig, error) {
	var c DockerConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("read registry credentials: %w", err)
	}
	if c.Auths == nil {
		if err := json.Unmarshal(data, &c.Auths); err != nil {
			c.Auths = nil // a config.json without auths
		}
	}
	return &c, nil
}

// CredentialsFrom answers credentials from files in the form of config.json, read anew for every question so that a login counts at once. Files that are not
// there are passed over.
func CredentialsFrom(paths ...string) func(host string) (*Auth, error) {
	return func(host string) (*Auth, error) {
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read registry credentials: %w", err)
			}
			c, err := ParseDockerConfig(b)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			if a, err := c.For(host, ""); a != nil || err != nil {
				return a, err
			}
		}
		return nil, nil
	}
}

// For finds the credentials for a registry host and repository path, as docker and Kubernetes look them up: the entry with the longest path that
// contains the repository, of the host itself; nil if there is none. A "*" stands for one part of a host name.
func (c *DockerConfig) For(host, repository string) (*Auth, error) {
	best, found := -1, dockerAuth{}
	for key, a := range c.Auths {
		h, path := splitAuthKey(key)
		if !hostMatches(h, canonicalHost(host)) {
			continue
		}
		if path != "" && repository != path && !strings.HasPrefix(repository, path+"/") {
			continue
		}
		score := 2 * len(path)
		if !strings.Contains(h, "*") {
			score++
		}
		if score > best {
			best, found = score, a
		}
	}
	if best < 0 {
		return nil, nil
	}
	auth := &Auth{Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken}
	if found.Auth != "" {
		b, err := base64.StdEncoding.DecodeString(found.Auth)
		user, password, ok := strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
		if err != nil || !ok {
			return nil, fmt.Errorf("read registry credentials of %s: auth is not base64 of user:password", host)
		}
		auth.Username, auth.Password = user, password
	}
	return auth, nil
}

// canonicalHost: Docker Hub's credentials stand under its old index.
func canonicalHost(h string) string {
	switch h {
	case "docker.io", "registry-1.docker.io", "index.docker.io":
		return "index.docker.io"
	}
	return h
}

func splitAuthKey(key string) (host, path string) {
	if u, err := url.Parse(key); err == nil && u.Host != "" {
		key = u.Host + u.Path
	}
	host, path, _ = strings.Cut(key, "/")
	path = strings.Trim(path, "/")
	if path == "v1" || path == "v2" {
		path = ""
	}
	return canonicalHost(host), path
}

func hostMatches(pattern, host string) bool {
	if pattern == host {
		return true
	}
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	if !strings.Contains(pattern, "*") || len(p) != len(h) {
		return false
	}
	for i := range p {
		if p[i] != h[i] && p[i] != "*" {
			return false
		}
	}
	return true
}
