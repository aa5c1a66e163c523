package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	de "github.com/moby/moby/api/types/events"
	dn "github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"

	"nau/internal/engine/container"
	"nau/internal/engine/network"
	"nau/internal/engine/sandbox"
)

// net_ is one network in both forms. The engine knows it by its ID, so that names are Docker's own affair.
type net_ struct {
	dn.Network
	spec network.Spec
}

// The networks that need no record: they are not the engine's.
var fixed = map[string]net_{
	"host": {Network: dn.Network{Name: "host", ID: fixedID("host"), Driver: "host", Scope: "local", EnableIPv4: true, IPAM: dn.IPAM{Driver: "default"}, Options: map[string]string{}, Labels: map[string]string{}}},
	"none": {Network: dn.Network{Name: "none", ID: fixedID("none"), Driver: "null", Scope: "local", EnableIPv4: true, IPAM: dn.IPAM{Driver: "default"}, Options: map[string]string{}, Labels: map[string]string{}}},
}

// fixedID is an ID that is the same everywhere.
func fixedID(name string) string { return digest.FromString("network " + name).Encoded() }

// networks lists all of Docker's networks.
func (s *Server) networks() []net_ {
	out := []net_{fixed["host"], fixed["none"]}
	if s.e.Networks == nil {
		return out
	}
	for _, spec := range s.e.Networks.Networks() {
		if n := s.parsed.network(spec.Extra); n.ID == spec.Name {
			out = append(out, net_{n, spec})
			if n.Name == dn.NetworkBridge { // all three are there from the beginning
				out[0].Created, out[1].Created = n.Created, n.Created
			}
		}
	}
	return out
}

// parsed are networks by the text that they are kept as: every start of a container asks for them several times. What is in it is read-only.
type parsed struct {
	mu  sync.Mutex
	all map[string]dn.Network
}

// network reads a text; the zero Network if it is none.
func (p *parsed) network(text []byte) (n dn.Network) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok := p.all[string(text)]; ok {
		return n
	}
	if len(text) == 0 || json.Unmarshal(text, &n) != nil {
		return dn.Network{}
	}
	if p.all == nil || len(p.all) >= 256 { // networks that are gone are forgotten some day
		p.all = map[string]dn.Network{}
	}
	p.all[string(text)] = n
	return n
}

// network finds a network by name, ID or a unique beginning of one.
func (s *Server) network(key string) (net_, error) {
	var found []net_
	all := s.networks()
	for _, same := range []func(net_) bool{func(n net_) bool { return n.ID == key }, func(n net_) bool { return n.Name == key }} {
		if i := slices.IndexFunc(all, same); i >= 0 {
			return all[i], nil
		}
	}
	for _, n := range all {
		if key != "" && strings.HasPrefix(n.ID, key) {
			found = append(found, n)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) > 1 {
		return net_{}, badRequest("network %s is ambiguous (%d matches found based on ID prefix)", key, len(found))
	}
	return net_{}, notFound("network %s not found", key)
}

func (s *Server) defaultNetwork() *net_ {
	if n, err := s.network(dn.NetworkBridge); err == nil {
		return &n
	}
	return nil
}

// gateway is the address that leads out of the network; invalid where none does.
func (n *net_) gateway(v6 bool) netip.Addr {
	if n.Internal {
		return netip.Addr{}
	}
	return n.spec.Gateway(v6)
}

// named reports whether containers find each other by name in the network.
func (n *net_) named() bool { return n.spec.Name != "" && n.Name != dn.NetworkBridge && !n.ConfigOnly }

// openNetworks makes the default bridge.
func (s *Server) openNetworks() error {
	if s.e.Networks == nil || s.defaultNetwork() != nil {
		return nil
	}
	_, err := s.makeNetwork(dn.CreateRequest{Name: dn.NetworkBridge, Driver: "bridge", Options: map[string]string{
		optDefault: "true", optICC: "true", optMasq: "true", optHostIPv4: "0.0.0.0", optMTU: "1500"}})
	return err
}

// listNetworks answers GET /networks.
func (s *Server) listNetworks(c *call) error {
	f, err := parseFilters(c.get("filters"), "dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return err
	}
	for _, v := range f["type"] {
		if v != "builtin" && v != "custom" {
			return badRequest("invalid value for filter 'type': must be 'builtin' or 'custom'")
		}
	}
	if _, err := f.boolean("dangling", false); err != nil {
		return badRequest(`invalid value for filter 'dangling': must be "true" (or "1"), or "false" (or "0")`)
	}
	out := []any{}
	for _, n := range s.networks() {
		switch {
		case !s.passes(f, n):
		case c.atLeast("1.28"):
			out = append(out, dn.Summary{Network: n.Network})
		default: // the list tells of the containers, too
			out = append(out, dn.Inspect{Network: n.Network, Containers: s.members(n)})
		}
	}
	return c.json(http.StatusOK, out)
}

func (s *Server) passes(f filters, n net_) bool {
	builtin := n.spec.Name == "" || n.Name == dn.NetworkBridge
	dangling, err := f.boolean("dangling", false)
	if err != nil || len(f["dangling"]) > 0 && dangling != (!builtin && len(s.members(n)) == 0) {
		return false
	}
	return f.exact("driver", n.Driver) && f.exact("scope", n.Scope) && f.labels(n.Labels) &&
		f.any("id", func(v string) bool { return strings.HasPrefix(n.ID, v) }) && f.any("name", func(v string) bool { return strings.Contains(n.Name, v) }) &&
		f.any("type", func(v string) bool { return (v == "builtin") == builtin })
}

// members are the containers that hold addresses in a network.
func (s *Server) members(n net_) map[string]dn.EndpointResource {
	out := map[string]dn.EndpointResource{}
	for _, r := range s.e.Containers.List() {
		sb, err := s.e.Sandboxes.Get(r.Config.Sandbox)
		if err != nil || sb.State != sandbox.Ready || r.Config.Origin != Origin || !load(r).Own {
			continue
		}
		for _, e := range sb.Endpoints {
			if e.Network != n.spec.Name || n.spec.Name == "" {
				continue
			}
			res := dn.EndpointResource{Name: r.Config.Name, EndpointID: endpointID(sb.ID, e.Network), MacAddress: dn.HardwareAddr(e.MAC)}
			for _, a := range e.Addrs {
				if a.Addr().Is4() {
					res.IPv4Address = a
				} else {
					res.IPv6Address = a
				}
			}
			out[r.ID] = res
		}
	}
	return out
}

// endpointID makes a stable name of 64 digits for a sandbox's place in a network.
func endpointID(sandbox, network string) string {
	if len(sandbox) < 32 || len(network) < 32 {
		return sandbox
	}
	return sandbox[:32] + network[:32]
}

// inspectNetwork answers GET /networks/{id}.
func (s *Server) inspectNetwork(c *call) error {
	n, err := s.network(c.vars["id"])
	if err != nil {
		return err
	}
	if scope := c.get("scope"); scope != "" && scope != n.Scope {
		return notFound("network %s not found", c.vars["id"])
	}
	doc := dn.Inspect{Network: n.Network, Containers: s.members(n)}
	if c.atLeast("1.52") && n.spec.Name != "" {
		doc.Status = &dn.Status{IPAM: dn.IPAMStatus{Subnets: dn.SubnetStatuses{}}}
		for _, u := range s.e.Networks.Use(n.spec.Name) {
			doc.Status.IPAM.Subnets[u.Subnet] = dn.SubnetStatus{IPsInUse: u.Used, DynamicIPsAvailable: u.Free}
		}
	}
	return c.json(http.StatusOK, doc)
}

// removeNetwork answers DELETE /networks/{id}.
func (s *Server) removeNetwork(c *call) error {
	n, err := s.network(c.vars["id"])
	if err != nil {
		return err
	}
	if n.spec.Name == "" || n.Name == dn.NetworkBridge {
		return fail(http.StatusForbidden, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	if err := s.dropNetwork(n); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

func (s *Server) dropNetwork(n net_) error {
	s.nets.Lock()
	defer s.nets.Unlock()
	if in := s.members(n); len(in) > 0 {
		var who []string
		for _, m := range in {
			who = append(who, fmt.Sprintf("name:%q id:%q", m.Name, m.EndpointID[:12]))
		}
		slices.Sort(who)
		return fail(http.StatusForbidden, "error while removing network: network %s has active endpoints (%s)", n.Name, strings.Join(who, ", "))
	}
	for _, o := range s.networks() {
		if n.ConfigOnly && o.ConfigFrom.Network == n.Name {
			return fail(http.StatusForbidden, "configuration network %q is in use", n.Name)
		}
	}
	if err := s.e.Networks.Remove(n.spec.Name); err != nil {
		if errors.Is(err, network.ErrInUse) {
			return fail(http.StatusForbidden, "error while removing network: network %s id %s has active endpoints", n.Name, n.ID)
		}
		return err
	}
	s.hub.publish(de.NetworkEventType, "destroy", n.ID, map[string]string{"name": n.Name, "type": n.Driver}, time.Time{})
	return nil
}

// pruneNetworks answers POST /networks/prune.
func (s *Server) pruneNetworks(c *call) error {
	f, err := parseFilters(c.get("filters"), "label", "label!", "until")
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, r := range s.e.Containers.List() {
		for id := range load(r).Networks {
			wanted[id] = true
		}
	}
	report := dn.PruneReport{}
	for _, n := range s.networks() {
		if n.spec.Name == "" || n.Name == dn.NetworkBridge || n.ConfigOnly || wanted[n.ID] || !f.labels(n.Labels) || !f.until(n.Created) {
			continue
		}
		if err := s.dropNetwork(n); err != nil {
			return err
		}
		report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
	}
	s.hub.publish(de.NetworkEventType, "prune", "", map[string]string{"reclaimed": "0"}, time.Time{})
	return c.json(http.StatusOK, report)
}

// until reports whether t is before the moment asked for.
func (f filters) until(t time.Time) bool {
	return !slices.ContainsFunc(f["until"], func(v string) bool {
		m, err := parseMoment(v)
		return err != nil || !t.Before(m)
	})
}

// networkEvents tells of a container's coming into or going out of all its networks.
func (s *Server) networkEvents(action de.Action, r *container.Record) {
	sb := s.placeOf(r)
	if sb == nil {
		return
	}
	for _, e := range sb.Endpoints {
		if n, err := s.network(e.Network); err == nil {
			s.hub.publish(de.NetworkEventType, action, n.ID, map[string]string{"name": n.Name, "type": n.Driver, "container": r.ID}, time.Time{})
		}
	}
}
