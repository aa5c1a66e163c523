package docker

import (
	"bytes"
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

// keepLinks writes --link's of a container that is made as "ID:alias": they outlive a new name of what they point to. In a user-defined
// network they are the endpoint's, for its server of names to tell, and stay as they came.
func (s *Server) keepLinks(h *dc.HostConfig) error {
	if h.NetworkMode.IsUserDefined() {
		return nil
	}
	for i, l := range h.Links {
		key, alias := splitLink(l)
		r, err := s.find(key)
		if err != nil {
			return badRequest("could not get container for %s: %v", key, err)
		}
		if m := load(r).Host.NetworkMode; m.IsHost() {
			return conflict("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		h.Links[i] = r.ID + ":" + alias
	}
	return nil
}

// linked are a container's links as somebody may ask for them: "/database:/web/db". One to what is gone is left away.
func (s *Server) linked(me *container.Record, h *dc.HostConfig) (out []string) {
	if h.NetworkMode.IsUserDefined() {
		return h.Links
	}
	for _, l := range h.Links {
		key, alias := splitLink(l)
		if r, err := s.find(key); err == nil {
			out = append(out, "/"+r.Config.Name+":/"+me.Config.Name+"/"+alias)
		}
	}
	return out
}

// linkNames are what containers are called by those linked to them, by ID: "/web/db".
func (s *Server) linkNames() map[string][]string {
	out := map[string][]string{}
	for _, r := range s.e.Containers.List() {
		if r.Config.Origin != Origin || !bytes.Contains(r.Config.Extra, []byte(`"Links":[`)) { // most have none, and need not be read whole
			continue
		}
		h := load(r).Host
		if h.NetworkMode.IsUserDefined() {
			continue
		}
		for _, l := range h.Links {
			id, alias := splitLink(l)
			out[id] = append(out[id], "/"+r.Config.Name+"/"+alias)
		}
	}
	return out
}

// linkedAs finds a container by the name that a link gives it: CONTAINER/ALIAS.
func (s *Server) linkedAs(key string) *container.Record {
	name := strings.Trim(key, "/")
	if !strings.Contains(name, "/") {
		return nil
	}
	for id, names := range s.linkNames() {
		if slices.Contains(names, "/"+name) {
			if r, err := s.e.Containers.Get(id); err == nil {
				return r
			}
		}
	}
	return nil
}

// links turns --link's of a container that starts into lines of its hosts file and variables of its environment.
func (s *Server) links(me *container.Record, st *stored) (lines []sandbox.HostAlias, env []string, err error) {
	if st.Host.NetworkMode.IsUserDefined() {
		return nil, nil, nil
	}
	for _, l := range st.Host.Links {
		key, alias := splitLink(l)
		r, err := s.find(key)
		if err != nil {
			return nil, nil, fail(http.StatusBadRequest, "could not get container for %s: %v", key, err)
		}
		if !running(r) {
			return nil, nil, fail(http.StatusConflict, "Cannot link to a non running container: /%s AS /%s/%s", r.Config.Name, me.Config.Name, alias)
		}
		line, ok := s.linkLine(r, alias)
		if !ok {
			return nil, nil, fail(http.StatusInternalServerError, "container %s not attached to default bridge network", r.ID)
		}
		lines = append(lines, line)
		env = append(env, linkEnv(me.Config.Name, alias, line.Addr, load(r).Config)...)
	}
	return lines, env, nil
}

// linkLine names a container that has an address, as one linked to it knows it.
func (s *Server) linkLine(r *container.Record, alias string) (sandbox.HostAlias, bool) {
	sb, err := s.e.Sandboxes.Get(r.Config.Sandbox)
	if err != nil || sb.State != sandbox.Ready || len(sb.Addrs()) == 0 {
		return sandbox.HostAlias{}, false
	}
	bridge := s.defaultNetwork()
	if bridge == nil {
		return sandbox.HostAlias{}, false
	}
	addr := sb.Addr(bridge.spec.Name, false)
	if !addr.IsValid() {
		addr = sb.Addr(bridge.spec.Name, true)
	}
	if !addr.IsValid() {
		return sandbox.HostAlias{}, false
	}
	return sandbox.HostAlias{Addr: addr, Names: linkedNames(alias, sb.Config.Hostname, r.Config.Name), Of: r.ID}, true
}

// linkedNames are what a linked container is called, in Docker's order: by its alias, as it calls itself, by its name.
func linkedNames(alias, hostname, name string) []string {
	names := []string{alias, hostname}
	if alias != name {
		names = append(names, name)
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// relink tells those linked to a container that has just got its address, and the container itself of what came between its asking and its
// start: one of two that start at once sees the other.
func (s *Server) relink(r *container.Record) error {
	for _, sb := range s.e.Sandboxes.List() {
		mine := sb.ID == r.Config.Sandbox
		if !slices.ContainsFunc(sb.Config.Hosts, func(h sandbox.HostAlias) bool {
			return h.Of != "" && (mine || h.Of == r.ID)
		}) {
			continue
		}
		err := s.e.Sandboxes.Rehost(sb.ID, func(have []sandbox.HostAlias) []sandbox.HostAlias {
			return moveLinks(have, func(id string) netip.Addr {
				if other, err := s.find(id); err == nil {
					if line, ok := s.linkLine(other, ""); ok {
						return line.Addr
					}
				}
				return netip.Addr{}
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// moveLinks gives the lines of a hosts file that are links' their addresses of now. One whose container has none keeps what it says.
func moveLinks(have []sandbox.HostAlias, now func(id string) netip.Addr) []sandbox.HostAlias {
	out := slices.Clone(have)
	for i, h := range out {
		if h.Of == "" {
			continue
		}
		if a := now(h.Of); a.IsValid() {
			out[i].Addr = a
		}
	}
	return out
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
		if len(st.Host.Links) == 0 {
			st.Host.Links = nil
		}
	})
	if err != nil {
		return err
	}
	if !removed {
		return notFound("Cannot find link %s of container %s", alias, r.Config.Name)
	}
	return c.done(http.StatusNoContent)
}
