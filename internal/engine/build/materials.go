package build

import (
	"cmp"
	"maps"
	"path"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Material is something from elsewhere that went into a build.
type Material struct {
	Image     string // reference of an image; "" = none
	Platform  ocispec.Platform
	Address   string // of a repository (with "#" and what of it) or a download; without credentials
	Algorithm string // of Digest: sha256, or sha1 for a commit
	Digest    string // hexadecimal
}

// took notes a material.
func (r *solving) took(m Material) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.materials = append(r.materials, m)
}

// Materials lists what went into the result from elsewhere, each once, in an order of its own.
func (x *Result) Materials() []Material {
	x.r.mu.Lock()
	defer x.r.mu.Unlock()
	return sorted(x.r.materials)
}

func sorted(list []Material) []Material {
	list = slices.Clone(list)
	order := func(a, b Material) int {
		return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Platform.Architecture, b.Platform.Architecture),
			cmp.Compare(a.Platform.Variant, b.Platform.Variant))
	}
	slices.SortFunc(list, order)
	return slices.CompactFunc(list, func(a, b Material) bool { return order(a, b) == 0 })
}

// Asked is a secret or an agent that steps of a build ask for.
type Asked struct {
	ID       string
	Required bool
}

// Asks lists the secrets and agents that the steps which the result needs ask for, by ID.
func (x *Result) Asks() (secrets, agents []Asked) {
	bySecret, byAgent := map[string]bool{}, map[string]bool{}
	for _, i := range x.r.plan.Needed {
		for _, c := range x.r.plan.Stages[i].commands {
			run, ok := c.(*instructions.RunCommand)
			if !ok {
				continue
			}
			for _, m := range instructions.GetMounts(run) {
				switch m.Type {
				case instructions.MountTypeSecret:
					id := cmp.Or(m.CacheID, path.Base(m.Target))
					bySecret[id] = bySecret[id] || m.Required
				case instructions.MountTypeSSH:
					id := cmp.Or(m.CacheID, "default")
					byAgent[id] = byAgent[id] || m.Required
				}
			}
		}
	}
	list := func(m map[string]bool) (out []Asked) {
		for _, id := range slices.Sorted(maps.Keys(m)) {
			out = append(out, Asked{id, m[id]})
		}
		return out
	}
	return list(bySecret), list(byAgent)
}
