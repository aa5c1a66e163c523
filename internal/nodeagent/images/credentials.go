package images

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Credential is one entry of a Docker configuration file: what it is for and how to log in.
type Credential struct {
	Host, Path string // Host may hold * within its labels
	Auth       *runtimeapi.AuthConfig
}

type dockerEntry struct {
	Username, Password, Auth, IdentityToken, RegistryToken string
}

// ParseDockerConfig reads a config.json (with "auths") or, if legacy, a .dockercfg (the entries alone). Entries that make
// no sense are left out; what is not JSON is an error.
func ParseDockerConfig(data []byte, legacy bool) ([]Credential, error) {
	entries := map[string]dockerEntry{}
	if legacy {
		if err := json.Unmarshal(data, &entries); err != nil {
			return nil, fmt.Errorf("read registry credentials: %w", err)
		}
	} else {
		var file struct {
			Auths map[string]dockerEntry `json:"auths"`
		}
		if err := json.Unmarshal(data, &file); err != nil {
			return nil, fmt.Errorf("read registry credentials: %w", err)
		}
		entries = file.Auths
	}
	var out []Credential
	for where, e := range entries {
		host, p, ok := split(where)
		if !ok {
			continue
		}
		a := &runtimeapi.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
		if e.Auth != "" {
			raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(e.Auth))
			if err != nil {
				if raw, err = base64.RawStdEncoding.DecodeString(strings.TrimSpace(e.Auth)); err != nil {
					continue
				}
			}
			user, pass, ok := strings.Cut(string(raw), ":")
			if !ok {
				continue
			}
			a.Username, a.Password = user, strings.TrimRight(pass, "\x00")
		}
		out = append(out, Credential{Host: host, Path: p, Auth: a})
	}
	// The longest match is tried first.
	slices.SortFunc(out, func(a, b Credential) int {
		if d := len(b.Host+b.Path) - len(a.Host+a.Path); d != 0 {
			return d
		}
		return strings.Compare(a.Host+a.Path, b.Host+b.Path)
	})
	return out, nil
}

// split takes an entry's key apart: [scheme://]host[:port][/path], where /v1 and /v2 are the API and no path.
func split(where string) (host, p string, ok bool) {
	if !strings.Contains(where, "://") {
		where = "https://" + where
	}
	u, err := url.Parse(where)
	if err != nil || u.Host == "" {
		return "", "", false
	}
	host, p = strings.ToLower(u.Host), strings.Trim(u.Path, "/")
	if p == "v1" || p == "v2" {
		p = ""
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	return host, p, true
}

// For tells whether the credential is meant for a repository of a registry, e.g. docker.io and library/nginx.
func (c *Credential) For(registry, repository string) bool {
	want, have := strings.Split(c.Host, "."), strings.Split(strings.ToLower(registry), ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return c.Path == "" || repository == c.Path || strings.HasPrefix(repository, strings.TrimSuffix(c.Path, "/")+"/")
}

// FromSecret returns what a pull secret holds; other kinds of secrets hold nothing.
func FromSecret(s *corev1.Secret) ([]Credential, error) {
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		return ParseDockerConfig(s.Data[corev1.DockerConfigJsonKey], false)
	case corev1.SecretTypeDockercfg:
		return ParseDockerConfig(s.Data[corev1.DockerConfigKey], true)
	}
	return nil, nil
}
