package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// LoadSpec reads a bundle's configuration.
func LoadSpec(bundle string) (*specs.Spec, []byte, error) {
	raw, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	spec, err := DecodeSpec(raw)
	return spec, raw, err
}

// linuxSpec is specs.Spec less what is for other systems: the decoder looks at every field of every type that a type
// mentions before it begins, and half of that is not for Linux.
type linuxSpec struct {
	Version     string            `json:"ociVersion"`
	Process     *specs.Process    `json:"process"`
	Root        *specs.Root       `json:"root"`
	Hostname    string            `json:"hostname"`
	Domainname  string            `json:"domainname"`
	Mounts      []specs.Mount     `json:"mounts"`
	Hooks       *specs.Hooks      `json:"hooks"`
	Annotations map[string]string `json:"annotations"`
	Linux       *linuxSection     `json:"linux"`
}

// linuxSection is specs.Linux with its largest part as text: nearly all containers of a node have the same one.
type linuxSection struct {
	specs.Linux
	Seccomp json.RawMessage `json:"seccomp"`
}

// profile is the system call filter that was decoded last.
var profile struct {
	mu      sync.Mutex
	text    []byte
	decoded *specs.LinuxSeccomp
}

// decodeProfile reads a system call filter; the result is read-only.
func decodeProfile(text []byte) (*specs.LinuxSeccomp, error) {
	profile.mu.Lock()
	defer profile.mu.Unlock()
	if len(text) == 0 || !bytes.Equal(text, profile.text) {
		var s *specs.LinuxSeccomp
		if len(text) > 0 {
			if err := json.Unmarshal(text, &s); err != nil {
				return nil, err
			}
		}
		if s == nil {
			return nil, nil
		}
		profile.text, profile.decoded = bytes.Clone(text), s
	}
	return profile.decoded, nil
}

// DecodeSpec reads a configuration. Fields it does not know are passed over, as the specification says.
func DecodeSpec(raw []byte) (*specs.Spec, error) {
	var s linuxSpec
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%w: decode config.json: %w", ErrInvalid, err)
	}
	spec := &specs.Spec{Version: s.Version, Process: s.Process, Root: s.Root, Hostname: s.Hostname, Domainname: s.Domainname, Mounts: s.Mounts,
		Hooks: s.Hooks, Annotations: s.Annotations}
	if s.Linux != nil {
		spec.Linux = &s.Linux.Linux
		var err error
		if spec.Linux.Seccomp, err = decodeProfile(s.Linux.Seccomp); err != nil {
			return nil, fmt.Errorf("%w: decode config.json: linux.seccomp: %w", ErrInvalid, err)
		}
	}
	return spec, nil
}
