package docker

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
)

// links turns --link's of a container that starts into lines of its hosts file and variables of its environment.
func (s *Server) links(me *container.Record, st *stored) (lines []sandbox.HostAlias, env []string, err error) {
	for _, l := range st.Host.Links {
		key, alias := splitLink(l)
		r, err := s.find(key)
		if err != nil {
			return nil, nil, fail(http.StatusBadRequest, "could not get container for %s: %v", key, err)
		}
		if !running(r) {
			return nil, nil, fail(http.StatusConflict, "Cannot link to a non running container: /%s AS /%s/%s", r.Config.Name, me.Config.Name, alias)
		}
		sb, err := s.e.Sandboxes.Get(r.Config.Sandbox)
		if err != nil || len(sb.Addrs()) == 0 {
			continue
		}
		names := []string{alias, r.ID[:12]}
		if alias != r.Config.Name {
			names = append(names, r.Config.Name)
		}
		lines = append(lines, sandbox.HostAlias{Addr: sb.Addrs()[0], Names: names})
		env = append(env, linkEnv(me.Config.Name, alias, sb.Addrs()[0], load(r).Config)...)
	}
	return lines, env, nil
}

// splitLink reads "container[:alias]".
func splitLink(text string) (key, alias string) {
	key, alias, _ = strings.Cut(text, ":")
	return key, path.Base(cmp.Or(alias, strings.TrimPrefix(key, "/")))
}

// linkEnv are the variables that tell a container of one that it is linked with. Source: Docker's documentation, "Legacy container links,
// environment variables".
func linkEnv(me, alias string, at netip.Addr, of *dc.Config) []string {
	prefix := strings.ToUpper(strings.ReplaceAll(alias, "-", "_"))
	env := []string{fmt.Sprintf("%s_NAME=/%s/%s", prefix, me, alias)}
	ports := make([]dn.Port, 0, len(of.ExposedPorts))
	for p := range of.ExposedPorts {
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b dn.Port) int { return cmp.Or(protoRank(a)-protoRank(b), int(a.Num())-int(b.Num())) })
	for i, p := range ports {
		url := fmt.Sprintf("%s://%s", p.Proto(), netip.AddrPortFrom(at, p.Num()))
		if i == 0 {
			env = append(env, prefix+"_PORT="+url)
		}
		one := fmt.Sprintf("%s_PORT_%d_%s", prefix, p.Num(), strings.ToUpper(string(p.Proto())))
		env = append(env, one+"="+url, one+"_ADDR="+at.String(), fmt.Sprintf("%s_PORT=%d", one, p.Num()), one+"_PROTO="+string(p.Proto()))
	}
	for _, kv := range of.Env {
		if name, _, ok := strings.Cut(kv, "="); ok && name != "HOME" && name != "PATH" {
			env = append(env, prefix+"_ENV_"+kv)
		}
	}
	return env
}

// protoRank puts tcp first.
func protoRank(p dn.Port) int {
	if p.Proto() == dn.TCP {
		return 0
	}
	return 1
}

// removeLink answers DELETE /containers/{parent}/{alias}?link=1.
func (s *Server) removeLink(c *call) error {
	parent, alias := path.Split(strings.Trim(c.vars["id"], "/"))
	r, err := s.find(strings.Trim(parent, "/"))
	if err != nil {
		return notFound("Cannot get parent %s for link name %s", strings.Trim(parent, "/"), c.vars["id"])
	}
	removed := false
	err = s.change(r.ID, func(st *stored) {
		st.Host.Links = slices.DeleteFunc(st.Host.Links, func(l string) bool {
			_, name := splitLink(l)
			removed = removed || name == alias
			return name == alias
		})
	})
	if err != nil {
		return err
	}
	if !removed {
		return notFound("Cannot find link %s of container %s", alias, r.Config.Name)
	}
	return c.done(http.StatusNoContent)
}
