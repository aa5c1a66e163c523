package build

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// named finds the further context that stands in for a stage or an image: by the name itself, or by what image it means.
func (r *solving) named(name string) (Named, bool) {
	if len(r.req.Contexts) == 0 || name == "" {
		return Named{}, false
	}
	if n, ok := r.req.Contexts[strings.ToLower(name)]; ok {
		return n, true
	}
	want := fullName(name)
	for k, n := range r.req.Contexts {
		if want != "" && fullName(k) == want {
			return n, true
		}
	}
	return Named{}, false
}

// fullName is a reference with registry and tag; "" = it is none.
func fullName(s string) string {
	n, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return ""
	}
	return reference.TagNameOnly(n).String()
}

// folder makes the state of a stage whose base is a folder: its files, over nothing.
func (r *solving) folder(name, dir string, platform ocispec.Platform) (*state, error) {
	st := &state{platform: platform}
	st.config.Env = []string{defaultPath}
	step := Step{Text: "FROM " + name, History: "COPY . / # context " + name, Config: st.config, Copy: &Copy{Sources: []string{"."}, Dest: "/"}}
	if _, err := r.copyFrom(&view{dir: dir, plain: true}, st, step); err != nil {
		return nil, fmt.Errorf("read context %s: %w", name, err)
	}
	return st, nil
}

// fresh tells whether the steps of a stage are to be made again.
func (r *solving) fresh(i int) bool {
	return slices.ContainsFunc(r.req.Fresh, func(name string) bool { return strings.EqualFold(name, r.plan.Stages[i].Name) && name != "" })
}

// contextOf shows the context to a step. A trigger of a base image may name anything of it.
func (r *solving) contextOf(step Step) (*view, error) {
	if r.req.Fetch == nil {
		return &view{dir: r.ctxDir}, nil
	}
	which := 0
	if step.Trigger {
		which = 1
	}
	dir, err := r.fetch[which]()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContext, err)
	}
	return &view{dir: dir, plain: true}, nil
}

// fetches prepares what brings the context, each at most once.
func (r *solving) fetches() {
	if r.req.Fetch == nil {
		return
	}
	paths := r.plan.sources()
	r.fetch[1] = sync.OnceValues(func() (string, error) { return r.req.Fetch(r.ctx, nil) })
	r.fetch[0] = sync.OnceValues(func() (string, error) { return r.req.Fetch(r.ctx, paths) })
	if paths == nil {
		r.fetch[0] = r.fetch[1]
	}
}

// sources lists what the needed stages take from the context; nil = it cannot be told before the base images are known.
func (p *Plan) sources() []string {
	var out []string
	for _, i := range p.Needed {
		for _, c := range p.Stages[i].commands {
			switch c := c.(type) {
			case *instructions.CopyCommand:
				if c.From == "" {
					out = append(out, c.SourcePaths...)
				}
			case *instructions.AddCommand:
				for _, s := range c.SourcePaths {
					if !isURL(s) && !isRepository(s) {
						out = append(out, s)
					}
				}
			case *instructions.RunCommand:
				for _, m := range instructions.GetMounts(c) {
					if m.Type == instructions.MountTypeBind && m.From == "" {
						out = append(out, m.Source)
					}
				}
			}
		}
	}
	for i, s := range out {
		if strings.ContainsAny(s, "$\\") {
			return nil
		}
		if out[i] = strings.TrimPrefix(path.Clean("/"+s), "/"); out[i] == "" {
			return nil
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// ReadBelow reads a small file of a folder; nothing leads out of the folder.
func ReadBelow(dir, name string) ([]byte, error) {
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	defer t.close()
	b, err := t.read(name)
	if len(b) > maxDockerfile {
		return nil, fmt.Errorf("read %s: it has more than %d bytes: %w", name, maxDockerfile, ErrContext)
	}
	return b, err
}
