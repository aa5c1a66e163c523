package build

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// Parameter is something that a build can be given: an argument, a secret, an agent.
type Parameter struct {
	Name        string
	Description string  // from the comment above it
	Value       *string // an argument's; nil = none
	Required    bool
	From, To    int // lines
}

// Outline is what the target of a Dockerfile can be given. Source: docs.docker.com/reference/cli/docker/buildx/build, "--call=outline".
type Outline struct {
	Name, Description  string // of the target
	Args, Secrets, SSH []Parameter
}

// Target is a stage as a target.
type Target struct {
	Name, Description, Base, Platform string
	Default                           bool
	From, To                          int
}

var nameInWord = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`)

// Outline tells what the target can be given, by the stages that it needs: those first that others rest on.
func (p *Plan) Outline() (out Outline, err error) {
	target := p.Stages[p.Target]
	out.Name, out.Description = target.Name, target.doc
	given := map[string]bool{}
	for _, a := range platformArgs(p.opts.Platform, p.opts.Builder) {
		given[a.name] = true
	}
	given["TARGETSTAGE"] = true
	scopes := map[int]Scope{}
	for _, i := range p.Needed {
		s := p.Stages[i]
		for _, m := range nameInWord.FindAllStringSubmatch(s.written, -1) {
			for n := range p.opening {
				for _, a := range p.opening[n].Args {
					if a.Key == m[1] && !given[a.Key] {
						given[a.Key] = true
						out.Args = append(out.Args, parameter(a, &p.opening[n], lookup(p.global, a.Key)))
					}
				}
			}
		}
		inherited := scopes[s.Parent]
		_, _, scope, err := p.Expand(i, ImageConfig{}, inherited)
		if err != nil {
			return out, err
		}
		scopes[i] = scope
		own := scope.args[len(inherited.args):]
		for _, c := range s.commands {
			switch c := c.(type) {
			case *instructions.ArgCommand:
				for _, a := range c.Args {
					value := own[0].value
					if own = own[1:]; !given[a.Key] {
						given[a.Key] = true
						out.Args = append(out.Args, parameter(a, c, value))
					}
				}
			case *instructions.RunCommand:
				out.mounts(c)
			}
		}
	}
	return out, nil
}

func parameter(a instructions.KeyValuePairOptional, c *instructions.ArgCommand, value *string) Parameter {
	out := Parameter{Name: a.Key, Description: a.DocComment, Value: value}
	out.From, out.To = lines(c.Location())
	return out
}

// mounts notes the secrets and agents that a RUN asks for, each once.
func (o *Outline) mounts(c *instructions.RunCommand) {
	for _, m := range instructions.GetMounts(c) {
		p := Parameter{Name: cmp.Or(m.CacheID, m.Source), Required: m.Required}
		p.From, p.To = lines(c.Location())
		list := &o.Secrets
		switch m.Type {
		case instructions.MountTypeSecret:
			if p.Name == "" {
				p.Name = path.Base(m.Target)
			}
		case instructions.MountTypeSSH:
			p.Name, list = cmp.Or(p.Name, "default"), &o.SSH
		default:
			continue
		}
		if i := slices.IndexFunc(*list, func(have Parameter) bool { return have.Name == p.Name }); i >= 0 {
			(*list)[i].Required = (*list)[i].Required || p.Required
			continue
		}
		*list = append(*list, p)
	}
}

// Targets are the stages, in order.
func (p *Plan) Targets() (out []Target) {
	for i, s := range p.Stages {
		out = append(out, Target{Name: strings.ToLower(s.Name), Description: s.doc, Base: s.written, Platform: s.platform, Default: i == len(p.Stages)-1, From: s.line, To: s.last})
	}
	return out
}
