package docker

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"

	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/sandbox"
)

var zero time.Time

// listContainers answers GET /containers/json.
func (s *Server) listContainers(c *call) error {
	f, err := parseFilters(c.get("filters"), "ancestor", "annotation", "before", "expose", "exited", "health", "id", "is-task", "isolation", "label", "label!",
		"name", "network", "publish", "since", "status", "volume")
	if err != nil {
		return err
	}
	if err := checkListed(f); err != nil {
		return err
	}
	limit, err := c.number("limit", 0)
	if err != nil {
		return err
	}
	if n, err := c.number("n", 0); err == nil && limit == 0 {
		limit = n
	}
	all := c.flag("all") || limit > 0 || len(f["status"]) > 0 || len(f["exited"]) > 0
	var before, since *container.Record
	for _, v := range f["before"] {
		if before, err = s.find(v); err != nil {
			return err
		}
	}
	for _, v := range f["since"] {
		if since, err = s.find(v); err != nil {
			return err
		}
	}
	out, links := []any{}, s.linkNames()
	for _, r := range s.e.Containers.List() {
		if limit > 0 && len(out) == limit {
			break
		}
		if !all && !running(r) && !s.between(r) || before != nil && !r.Created.Before(before.Created) || since != nil && !r.Created.After(since.Created) {
			continue
		}
		st := load(r)
		sum := s.summary(r, st)
		sum.Names = append(sum.Names, links[r.ID]...)
		if !s.listed(f, r, st, sum) {
			continue
		}
		if c.atLeast("1.52") {
			sum.Health = s.healthSummary(r)
		}
		if c.flag("size") {
			sum.SizeRw, sum.SizeRootFs = s.sizes(c.ctx(), r)
		}
		out = append(out, sum)
	}
	return c.shaped(http.StatusOK, out, listedContainer)
}

// healthSummary is what a list tells of a container's health.
func (s *Server) healthSummary(r *container.Record) *dc.HealthSummary {
	if h := s.health.doc(r.ID, r.Starts); h != nil {
		return &dc.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
	}
	return &dc.HealthSummary{Status: dc.NoHealthcheck}
}

// checkListed refuses values that no container can have.
func checkListed(f filters) error {
	for _, v := range f["status"] {
		if err := dc.ValidateContainerState(dc.ContainerState(v)); err != nil {
			return badRequest("invalid filter 'status=%s': %v", v, err)
		}
	}
	for _, v := range f["health"] {
		if err := dc.ValidateHealthStatus(dc.HealthStatus(v)); err != nil {
			return badRequest("invalid filter 'health=%s': %v", v, err)
		}
	}
	for _, v := range f["exited"] {
		if _, err := strconv.Atoi(v); err != nil {
			return badRequest("invalid filter 'exited=%s': %v", v, err)
		}
	}
	for _, name := range []string{"publish", "expose"} {
		for _, v := range f[name] {
			if _, err := dn.ParsePortRange(v); err != nil {
				return badRequest("error while looking up for %s %s: %v", name, v, err)
			}
		}
	}
	_, err := f.boolean("is-task", false)
	return err
}

// sizes are the bytes of a container's writable layer, and with its image.
func (s *Server) sizes(ctx context.Context, r *container.Record) (rw, root int64) {
	if u, err := s.e.Layers.Usage(ctx, r.ID); err == nil {
		rw = u.Bytes
	}
	root = rw
	if img, err := s.e.Images.Get(r.Image.String()); err == nil {
		root += img.Size
	}
	return rw, root
}

// listed reports whether a container passes the filters.
func (s *Server) listed(f filters, r *container.Record, st *stored, sum dc.Summary) bool {
	hasPort := func(name string, of func(dc.PortSummary) uint16) bool {
		return f.any(name, func(v string) bool {
			rng, err := dn.ParsePortRange(v)
			if err != nil {
				return false
			}
			for _, p := range sum.Ports {
				if n := of(p); n >= rng.Start() && n <= rng.End() && string(rng.Proto()) == p.Type {
					return true
				}
			}
			return false
		})
	}
	return f.labels(r.Config.Labels) && f.all("annotation", r.Config.Annotations) &&
		f.any("id", func(v string) bool { return strings.HasPrefix(r.ID, v) }) &&
		f.any("name", func(v string) bool { return matches(v, r.Config.Name) }) &&
		f.exact("status", string(sum.State)) &&
		f.any("exited", func(v string) bool {
			n, err := strconv.Atoi(v)
			return err == nil && r.State == container.Exited && n == r.ExitCode
		}) &&
		f.any("health", func(v string) bool { return v == string(s.health.status(r.ID)) }) &&
		f.any("ancestor", func(v string) bool { return s.descends(r, v) }) &&
		f.any("volume", func(v string) bool {
			return slices.ContainsFunc(st.Mounts, func(m dc.MountPoint) bool { return m.Name == v || m.Destination == v || m.Source == v })
		}) &&
		f.any("network", func(v string) bool {
			for name, e := range sum.NetworkSettings.Networks {
				if name == v || strings.HasPrefix(e.NetworkID, v) {
					return true
				}
			}
			return false
		}) &&
		hasPort("publish", func(p dc.PortSummary) uint16 { return p.PublicPort }) && hasPort("expose", func(p dc.PortSummary) uint16 { return p.PrivatePort }) &&
		f.any("is-task", func(v string) bool { task, _ := filters{"is-task": {v}}.boolean("is-task", false); return !task })
}

// descends reports whether a container's image is one, or stands on one.
func (s *Server) descends(r *container.Record, ref string) bool {
	if r.Config.Image == ref {
		return true
	}
	img, err := s.e.Images.Get(ref)
	if err != nil {
		return false
	}
	return img.ID == r.Image || len(img.DiffIDs) > 0 && len(img.DiffIDs) <= len(r.Layers) && slices.Equal(img.DiffIDs, r.Layers[:len(img.DiffIDs)])
}

// state is a container's state in Docker's words.
func (s *Server) state(r *container.Record) dc.ContainerState {
	if s.between(r) {
		return dc.StateRestarting
	}
	return dc.ContainerState(r.State)
}

// status is the column of `docker ps`.
func (s *Server) status(r *container.Record) string {
	now := time.Now()
	switch st := s.state(r); {
	case st == dc.StateCreated:
		return "Created"
	case st == dc.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", r.ExitCode, ago(now.Sub(r.Finished)))
	case st == dc.StatePaused:
		return fmt.Sprintf("Up %s (Paused)", ago(now.Sub(r.Started)))
	case st == dc.StateRunning:
		text := "Up " + ago(now.Sub(r.Started))
		switch h := s.health.status(r.ID); h {
		case dc.Starting:
			text += " (health: starting)"
		case dc.Healthy, dc.Unhealthy:
			text += " (" + string(h) + ")"
		}
		return text
	}
	if r.Finished.IsZero() {
		return "Created"
	}
	return fmt.Sprintf("Exited (%d) %s ago", r.ExitCode, ago(now.Sub(r.Finished)))
}

// stillCalled tells whether an image has a name now, or had it from the beginning as its ID.
func (s *Server) stillCalled(name string, id digest.Digest) bool {
	img, err := s.e.Images.Get(name)
	if err != nil {
		return false
	}
	if img.ID == id {
		return true
	}
	return slices.ContainsFunc(s.e.Images.Manifests(img), func(m image.ManifestInfo) bool { return m.Image == id }) // of another platform
}

// summary is one line of the list.
func (s *Server) summary(r *container.Record, st *stored) dc.Summary {
	path, args := command(st)
	sum := dc.Summary{ID: r.ID, Names: []string{"/" + r.Config.Name}, Image: st.Config.Image, ImageID: r.Image.String(), Command: commandLine(path, args),
		Created: r.Created.Unix(), Ports: []dc.PortSummary{}, Labels: r.Config.Labels, State: s.state(r), Status: s.status(r), Mounts: st.Mounts}
	if r.Config.Origin == Origin && !s.stillCalled(sum.Image, r.Image) {
		sum.Image = r.Image.String()
	}
	if r.Config.Name == "" {
		sum.Names = []string{}
	}
	if r.Config.Origin == Origin {
		if !s.e.Images.Means(sum.Image, r.Image) {
			sum.Image = sum.ImageID // what it was run by has gone, or is another image now
		}
	} else {
		// A pod's container names the image's ID, for what a tag means may change; a person wants to see the tag.
		if img, err := s.e.Images.Get(r.Image.String()); err == nil && len(img.RepoTags) > 0 && !slices.Contains(img.RepoTags, sum.Image) {
			sum.Image = img.RepoTags[0]
		}
	}
	if d, ok := s.e.Images.Manifest(r.Image); ok {
		sum.ImageManifestDescriptor = &d
	}
	if sum.Labels == nil {
		sum.Labels = map[string]string{}
	}
	if sum.Mounts == nil {
		sum.Mounts = []dc.MountPoint{}
	}
	sum.HostConfig.NetworkMode, sum.HostConfig.Annotations = string(st.Host.NetworkMode), st.Host.Annotations
	sum.NetworkSettings = &dc.NetworkSettingsSummary{Networks: s.endpoints(r, st)}
	published := map[uint32]bool{}
	if sb := s.placeOf(r); sb != nil && running(r) && (st.Own || r.Config.Origin != Origin) {
		for _, e := range sb.Endpoints {
			for _, p := range e.Ports {
				for _, at := range s.e.Networks.ReachedAt(p, &e) {
					sum.Ports = append(sum.Ports, dc.PortSummary{IP: at, PrivatePort: p.Container, PublicPort: p.Host, Type: p.Protocol.String()})
				}
				published[uint32(p.Protocol)<<16|uint32(p.Container)] = true
			}
		}
		for p := range st.Config.ExposedPorts {
			if proto := protocols[p.Proto()]; !published[uint32(proto)<<16|uint32(p.Num())] {
				sum.Ports = append(sum.Ports, dc.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
			}
		}
		slices.SortStableFunc(sum.Ports, func(a, b dc.PortSummary) int { return int(a.PrivatePort) - int(b.PrivatePort) })
	}
	return sum
}

func commandLine(path string, args []string) string {
	if len(args) == 0 {
		return path
	}
	var b strings.Builder
	b.WriteString(path)
	for _, a := range args {
		b.WriteByte(' ')
		if strings.ContainsAny(a, " \t\n'\"") || a == "" {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		b.WriteString(a)
	}
	return b.String()
}

func (s *Server) placeOf(r *container.Record) *sandbox.Record {
	sb, err := s.e.Sandboxes.Get(r.Config.Sandbox)
	if err != nil {
		return nil
	}
	return sb
}

// endpoints are a container's places by the networks' names.
func (s *Server) endpoints(r *container.Record, st *stored) map[string]*dn.EndpointSettings {
	out := map[string]*dn.EndpointSettings{}
	switch mode := st.Host.NetworkMode; {
	case mode.IsHost() || mode.IsNone():
		n := fixed[string(mode)]
		e := &dn.EndpointSettings{NetworkID: n.ID}
		if running(r) {
			e.EndpointID = r.ID
		}
		out[string(mode)] = e
		return out
	case mode.IsContainer():
		return out
	}
	for name, asked := range st.Absent {
		out[name] = asked.Copy()
	}
	sb := s.placeOf(r)
	for id, asked := range st.Networks {
		n, err := s.network(id)
		if err != nil {
			continue
		}
		e := asked.Copy()
		e.NetworkID = n.ID
		if n.named() {
			e.DNSNames = append([]string{r.Config.Name}, append(slices.Clone(asked.Aliases), r.ID[:12])...)
		}
		if sb != nil && sb.State == sandbox.Ready {
			for _, have := range sb.Endpoints {
				if have.Network != n.spec.Name {
					continue
				}
				e.EndpointID, e.MacAddress = endpointID(sb.ID, n.ID), dn.HardwareAddr(have.MAC)
				for _, a := range have.Addrs {
					if a.Addr().Is4() {
						e.IPAddress, e.IPPrefixLen, e.Gateway = a.Addr(), a.Bits(), n.gateway(false)
					} else {
						e.GlobalIPv6Address, e.GlobalIPv6PrefixLen, e.IPv6Gateway = a.Addr(), a.Bits(), n.gateway(true)
					}
				}
			}
		}
		out[n.Name] = e
	}
	if r.Config.Origin != Origin && sb != nil {
		for _, have := range sb.Endpoints {
			e := &dn.EndpointSettings{NetworkID: have.Network, MacAddress: dn.HardwareAddr(have.MAC)}
			for _, a := range have.Addrs {
				if a.Addr().Is4() {
					e.IPAddress, e.IPPrefixLen = a.Addr(), a.Bits()
				} else {
					e.GlobalIPv6Address, e.GlobalIPv6PrefixLen = a.Addr(), a.Bits()
				}
			}
			out[have.Network] = e
		}
	}
	return out
}

// pruneContainers answers POST /containers/prune.
func (s *Server) pruneContainers(c *call) error {
	f, err := parseFilters(c.get("filters"), "label", "label!", "until")
	if err != nil {
		return err
	}
	report := dc.PruneReport{}
	for _, r := range s.e.Containers.List() {
		if running(r) || s.between(r) || r.Config.Origin != Origin || !f.labels(r.Config.Labels) || !f.until(r.Created) {
			continue
		}
		rw, _ := s.sizes(c.ctx(), r)
		rw += s.keptBy(r)
		if err := s.remove(c.ctx(), r.ID, removal{}); err != nil {
			return err
		}
		report.ContainersDeleted = append(report.ContainersDeleted, r.ID)
		report.SpaceReclaimed += uint64(rw)
	}
	s.hub.publish("container", "prune", "", map[string]string{"reclaimed": fmt.Sprint(report.SpaceReclaimed)}, zero)
	return c.json(http.StatusOK, report)
}
