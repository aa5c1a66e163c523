package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	dc "github.com/moby/moby/api/types/container"
	de "github.com/moby/moby/api/types/events"
	dn "github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"

	"nau/internal/engine/container"
	"nau/internal/engine/network"
	"nau/internal/engine/record"
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
		n := net_{spec: spec}
		if len(spec.Extra) > 0 && json.Unmarshal(spec.Extra, &n.Network) == nil && n.ID == spec.Name {
			out = append(out, n)
		}
	}
	return out
}

// network finds a network by name, ID or a unique beginning of one.
func (s *Server) network(key string) (net_, error) {
	var found []net_
	for _, n := range s.networks() {
		if n.Name == key || n.ID == key {
			return n, nil
		}
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

// gateway is this machine's address in the network.
func (n *net_) gateway(v6 bool) netip.Addr {
	for _, p := range n.spec.Subnets {
		if p.Addr().Is6() == v6 {
			return p.Masked().Addr().Next()
		}
	}
	return netip.Addr{}
}

// named reports whether containers find each other by name in the network.
func (n *net_) named() bool { return n.spec.Name != "" && n.Name != dn.NetworkBridge }

// openNetworks makes the default bridge.
func (s *Server) openNetworks() error {
	if s.e.Networks == nil || s.defaultNetwork() != nil {
		return nil
	}
	_, err := s.makeNetwork(dn.CreateRequest{Name: dn.NetworkBridge, Driver: "bridge", Options: map[string]string{
		"com.docker.network.bridge.default_bridge": "true", "com.docker.network.bridge.enable_icc": "true",
		"com.docker.network.bridge.enable_ip_masquerade": "true", "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0", "com.docker.network.driver.mtu": "1500"}})
	return err
}

// makeNetwork makes a bridge.
func (s *Server) makeNetwork(req dn.CreateRequest) (net_, error) {
	s.nets.Lock()
	defer s.nets.Unlock()
	for _, n := range s.networks() {
		if n.Name == req.Name {
			return net_{}, conflict("network with name %s already exists", req.Name)
		}
	}
	id := record.NewID()
	n := net_{Network: dn.Network{Name: req.Name, ID: id, Created: time.Now().UTC(), Scope: "local", Driver: "bridge", EnableIPv4: true, Internal: req.Internal,
		Attachable: req.Attachable, Options: req.Options, Labels: req.Labels, IPAM: dn.IPAM{Driver: "default"}}}
	if n.Options == nil {
		n.Options = map[string]string{}
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	var asked []dn.IPAMConfig
	if req.IPAM != nil {
		n.IPAM.Options = req.IPAM.Options
		asked = req.IPAM.Config
		if req.IPAM.Driver != "" && req.IPAM.Driver != "default" {
			return net_{}, badRequest("invalid ipam driver: %s", req.IPAM.Driver)
		}
	}
	n.EnableIPv6 = req.EnableIPv6 != nil && *req.EnableIPv6
	taken := s.takenRanges()
	for _, c := range asked {
		if !c.Subnet.IsValid() {
			continue
		}
		if c.Subnet.Masked() != c.Subnet {
			return net_{}, badRequest("invalid network config:\ninvalid subnet %s: it should be %s", c.Subnet, c.Subnet.Masked())
		}
		for _, t := range taken {
			if t.Overlaps(c.Subnet) {
				return net_{}, fail(http.StatusForbidden, "invalid pool request: Pool overlaps with other one on this address space")
			}
		}
		n.spec.Subnets = append(n.spec.Subnets, c.Subnet)
		n.EnableIPv6 = n.EnableIPv6 || c.Subnet.Addr().Is6()
	}
	has := func(v6 bool) bool {
		return slices.ContainsFunc(n.spec.Subnets, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
	}
	if !has(false) {
		p, ok := freeRange(taken)
		if !ok {
			return net_{}, fail(http.StatusBadRequest, "all predefined address pools have been fully subnetted")
		}
		n.spec.Subnets = append(n.spec.Subnets, p)
	}
	if n.EnableIPv6 && !has(true) {
		p, _ := netip.ParsePrefix(fmt.Sprintf("fd%s:%s:%s:1::/64", id[:2], id[2:6], id[6:10]))
		n.spec.Subnets = append(n.spec.Subnets, p.Masked())
	}
	slices.SortStableFunc(n.spec.Subnets, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	for _, p := range n.spec.Subnets {
		c := dn.IPAMConfig{Subnet: p, Gateway: p.Addr().Next()}
		for _, a := range asked {
			if a.Subnet == p {
				c.IPRange, c.AuxAddress = a.IPRange, a.AuxAddress
			}
		}
		n.IPAM.Config = append(n.IPAM.Config, c)
	}
	n.spec.Name, n.spec.ID, n.spec.Driver, n.spec.Link = id, id, network.Bridge, "nau-"+id[:10]
	n.spec.MTU, n.spec.Internal, n.spec.Labels = s.e.Config().MTU, req.Internal, req.Labels
	if v := n.Options["com.docker.network.driver.mtu"]; v != "" && req.Name != dn.NetworkBridge {
		if n.spec.MTU = atoi(v); n.spec.MTU < 68 {
			return net_{}, badRequest("invalid value for com.docker.network.driver.mtu: %s", v)
		}
	}
	if req.Name == dn.NetworkBridge {
		n.Options["com.docker.network.bridge.name"] = n.spec.Link
	}
	var err error
	if n.spec.Extra, err = json.Marshal(n.Network); err != nil {
		return net_{}, err
	}
	if err := s.e.Networks.Ensure(n.spec); err != nil {
		return net_{}, err
	}
	return n, s.e.Networks.Rebuild(s.e.Sandboxes.Endpoints())
}

// takenRanges are the ranges that a new network must keep off: the engine's, the cluster's, and this machine's own.
func (s *Server) takenRanges() []netip.Prefix {
	cfg := s.e.Config()
	out := slices.Concat(cfg.ClusterCIDRs, cfg.ServiceCIDRs, cfg.PodCIDRs)
	for _, n := range s.e.Networks.Networks() {
		out = append(out, n.Subnets...)
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// freeRange is the first of Docker's default pools that overlaps nothing. Source: Docker's documentation of default-address-pools.
func freeRange(taken []netip.Prefix) (netip.Prefix, bool) {
	var pools []netip.Prefix
	for i := 17; i < 32; i++ {
		pools = append(pools, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(i), 0, 0}), 16))
	}
	for i := 0; i < 256; i += 16 {
		pools = append(pools, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 0}), 20))
	}
	for _, p := range pools {
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// attachment is one place of a container in a network.
type attachment struct {
	net      net_
	settings *dn.EndpointSettings
	names    []string // by which others find the container
}

func (a attachment) engine() sandbox.Attachment {
	out := sandbox.Attachment{Network: a.net.spec.Name, Aliases: a.names, MAC: net.HardwareAddr(a.settings.MacAddress)}
	if len(out.MAC) == 0 {
		out.MAC = nil
	}
	if c := a.settings.IPAMConfig; c != nil {
		for _, ip := range []netip.Addr{c.IPv4Address, c.IPv6Address} {
			if ip.IsValid() {
				out.Addrs = append(out.Addrs, ip)
			}
		}
	}
	return out
}

// attachments are a new container's places: the network mode's first, then the others by name.
func (s *Server) attachments(mode dc.NetworkMode, wanted map[string]*dn.EndpointSettings, name string) ([]attachment, error) {
	var keys []string
	if !mode.IsHost() && !mode.IsNone() {
		keys = append(keys, string(mode))
	}
	for _, k := range slices.Sorted(maps.Keys(wanted)) {
		if !slices.Contains(keys, k) && k != "default" {
			keys = append(keys, k)
		}
	}
	var out []attachment
	for _, k := range keys {
		n, err := s.network(k)
		if err != nil {
			return nil, err
		}
		if n.spec.Name == "" {
			continue // host or none
		}
		if slices.ContainsFunc(out, func(a attachment) bool { return a.net.ID == n.ID }) {
			continue
		}
		settings := wanted[k]
		if settings == nil && k == string(mode) {
			settings = wanted["default"]
		}
		a, err := attach(n, settings, name)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// attach checks one place.
func attach(n net_, settings *dn.EndpointSettings, name string) (attachment, error) {
	if settings == nil {
		settings = &dn.EndpointSettings{}
	}
	if !n.named() && len(settings.Aliases) > 0 {
		return attachment{}, badRequest("invalid endpoint settings:\nnetwork-scoped aliases are only supported for user-defined networks")
	}
	if c := settings.IPAMConfig; c != nil {
		if !n.named() && (c.IPv4Address.IsValid() || c.IPv6Address.IsValid()) {
			return attachment{}, badRequest("invalid config for network %s: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only", n.Name)
		}
		for _, ip := range []netip.Addr{c.IPv4Address, c.IPv6Address} {
			if ip.IsValid() && !slices.ContainsFunc(n.spec.Subnets, func(p netip.Prefix) bool { return p.Contains(ip) }) {
				return attachment{}, badRequest("invalid config for network %s: invalid endpoint settings:\nno configured subnet contains IP address %s", n.Name, ip)
			}
		}
	}
	a := attachment{net: n, settings: settings}
	if n.named() {
		a.names = append([]string{name}, settings.Aliases...)
	}
	return a, nil
}

var networkName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// createNetwork answers POST /networks/create.
func (s *Server) createNetwork(c *call) error {
	var req dn.CreateRequest
	if err := readJSON(c.Request, &req); err != nil {
		return err
	}
	switch {
	case !networkName.MatchString(req.Name):
		return badRequest("invalid network name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed", req.Name)
	case req.Name == "default" || req.Name == "host" || req.Name == "none" || req.Name == "bridge":
		return fail(http.StatusForbidden, "operation is not permitted on predefined %s network ", req.Name)
	case s.e.Networks == nil:
		return fail(http.StatusServiceUnavailable, "this host's network is left alone: no network can be made")
	}
	switch req.Driver {
	case "", "bridge", "default":
	case "overlay":
		return fail(http.StatusServiceUnavailable, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.")
	default:
		return notFound("plugin %q not found", req.Driver)
	}
	n, err := s.makeNetwork(req)
	if err != nil {
		return err
	}
	s.hub.publish(de.NetworkEventType, "create", n.ID, map[string]string{"name": n.Name, "type": n.Driver}, time.Time{})
	return c.json(http.StatusCreated, dn.CreateResponse{ID: n.ID})
}

// listNetworks answers GET /networks.
func (s *Server) listNetworks(c *call) error {
	f, err := parseFilters(c.get("filters"), "dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return err
	}
	out := []dn.Summary{}
	for _, n := range s.networks() {
		if s.passes(f, n) {
			out = append(out, dn.Summary{Network: n.Network})
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
	return c.json(http.StatusOK, dn.Inspect{Network: n.Network, Containers: s.members(n)})
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
	s.resolve.drop(n.spec.Name)
	if err := s.e.Networks.Remove(n.spec.Name, s.e.Sandboxes.Endpoints()); err != nil {
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
		if n.spec.Name == "" || n.Name == dn.NetworkBridge || wanted[n.ID] || !f.labels(n.Labels) || !f.until(n.Created) {
			continue
		}
		if err := s.dropNetwork(n); err != nil {
			return err
		}
		report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
	}
	return c.json(http.StatusOK, report)
}

// until reports whether t is before the moment asked for.
func (f filters) until(t time.Time) bool {
	return f.any("until", func(v string) bool {
		m, err := parseTime(v)
		return err == nil && t.Before(m)
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

// connectNetwork answers POST /networks/{id}/connect.
func (s *Server) connectNetwork(c *call) error {
	var req dn.ConnectRequest
	if err := readJSON(c.Request, &req); err != nil {
		return err
	}
	n, err := s.network(c.vars["id"])
	if err != nil {
		return err
	}
	r, err := s.find(req.Container)
	if err != nil {
		return err
	}
	st := load(r)
	switch {
	case n.spec.Name == "":
		return badRequest("container cannot be connected to %s network", n.Name)
	case !st.Own || st.Host.NetworkMode.IsHost():
		return badRequest("container sharing network namespace with another container or host cannot be connected to any other network")
	case st.Networks[n.ID] != nil:
		return fail(http.StatusForbidden, "endpoint with name %s already exists in network %s", r.Config.Name, n.Name)
	}
	a, err := attach(n, req.EndpointConfig, r.Config.Name)
	if err != nil {
		return err
	}
	defer s.op.lock(r.ID)()
	if err := s.e.Sandboxes.Connect(c.ctx(), r.Config.Sandbox, a.engine()); err != nil {
		return err
	}
	if err := s.change(r.ID, func(st *stored) {
		if st.Networks == nil {
			st.Networks = map[string]*dn.EndpointSettings{}
		}
		st.Networks[n.ID] = a.settings
	}); err != nil {
		return err
	}
	s.hub.publish(de.NetworkEventType, "connect", n.ID, map[string]string{"name": n.Name, "type": n.Driver, "container": r.ID}, time.Time{})
	if err := s.resolve.joined(r.Config.Sandbox); err != nil {
		return err
	}
	return c.done(http.StatusOK)
}

// disconnectNetwork answers POST /networks/{id}/disconnect.
func (s *Server) disconnectNetwork(c *call) error {
	var req dn.DisconnectRequest
	if err := readJSON(c.Request, &req); err != nil {
		return err
	}
	n, err := s.network(c.vars["id"])
	if err != nil {
		return err
	}
	r, err := s.find(req.Container)
	if err != nil {
		if req.Force {
			return c.done(http.StatusOK)
		}
		return err
	}
	if load(r).Networks[n.ID] == nil {
		return fail(http.StatusInternalServerError, "container %s is not connected to network %s", r.ID, n.Name)
	}
	defer s.op.lock(r.ID)()
	if err := s.e.Sandboxes.Disconnect(c.ctx(), r.Config.Sandbox, n.spec.Name); err != nil && !errors.Is(err, sandbox.ErrNotFound) {
		return err
	}
	if err := s.change(r.ID, func(st *stored) { delete(st.Networks, n.ID) }); err != nil {
		return err
	}
	s.hub.publish(de.NetworkEventType, "disconnect", n.ID, map[string]string{"name": n.Name, "type": n.Driver, "container": r.ID}, time.Time{})
	return c.done(http.StatusOK)
}
