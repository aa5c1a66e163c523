package docker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	dc "github.com/moby/moby/api/types/container"
	de "github.com/moby/moby/api/types/events"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/container"
	"nau/internal/engine/network"
	"nau/internal/engine/sandbox"
)

// attachment is one place of a container in a network.
type attachment struct {
	net      net_
	settings *dn.EndpointSettings
	names    []string // by which others find the container
}

func (a attachment) engine() sandbox.Attachment {
	out := sandbox.Attachment{Network: a.net.spec.Name, Aliases: a.names, MAC: net.HardwareAddr(a.settings.MacAddress), Priority: a.settings.GwPriority, Rank: a.net.Name,
		Prefix: a.net.Options[optPrefix], Link: a.settings.DriverOpts[optLink]}
	out.Sysctls, _ = endpointSysctls(a.settings.DriverOpts[optSysctls])
	if len(out.MAC) == 0 {
		out.MAC = nil
	}
	if c := a.settings.IPAMConfig; c != nil {
		for _, ip := range c.LinkLocalIPs {
			bits := 16 // 169.254.0.0/16
			if ip.Is6() {
				bits = 64 // fe80::/64
			}
			out.Further = append(out.Further, netip.PrefixFrom(ip, bits))
		}
		for _, ip := range []netip.Addr{c.IPv4Address, c.IPv6Address} {
			if ip.IsValid() {
				out.Addrs = append(out.Addrs, ip)
			}
		}
	}
	return out
}

// attachments are a new container's places: the network mode's first, then the others by name. A network that is not there is no fault yet.
func (s *Server) attachments(mode dc.NetworkMode, wanted map[string]*dn.EndpointSettings, name string) (out []attachment, absent map[string]*dn.EndpointSettings, err error) {
	var keys []string
	if !mode.IsHost() && !mode.IsNone() {
		keys = append(keys, string(mode))
	}
	for _, k := range slices.Sorted(maps.Keys(wanted)) {
		if !slices.Contains(keys, k) && k != "default" {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		settings := wanted[k]
		if settings == nil && k == string(mode) {
			settings = wanted["default"]
		}
		n, err := s.network(k)
		if err != nil {
			if absent == nil {
				absent = map[string]*dn.EndpointSettings{}
			}
			absent[k] = cmp.Or(settings, &dn.EndpointSettings{})
			continue
		}
		if n.ConfigOnly {
			return nil, nil, configOnly(n)
		}
		if slices.ContainsFunc(out, func(a attachment) bool { return a.net.ID == n.ID }) {
			continue
		}
		a, err := attach(n, settings, name)
		if err != nil {
			return nil, nil, badRequest("invalid config for network %s: %v", n.Name, err)
		}
		if n.spec.Name == "" {
			continue // host or none
		}
		out = append(out, a)
	}
	return out, absent, nil
}

// arrive connects a container to the networks that were not there when it was made. One that is still not there is why it does not start.
func (s *Server) arrive(ctx context.Context, r *container.Record, st *stored) error {
	for _, k := range slices.Sorted(maps.Keys(st.Absent)) {
		n, err := s.network(k)
		switch {
		case err != nil:
			return notFound(networking+"%v", err)
		case n.spec.Name == "" || n.ConfigOnly:
			return configOnly(n)
		}
		a, err := attach(n, st.Absent[k], r.Config.Name)
		if err != nil {
			return err
		}
		if st.Networks[n.ID] == nil {
			if err := s.e.Sandboxes.Connect(ctx, r.Config.Sandbox, a.engine()); err != nil {
				return placeError(r, nil, err)
			}
		}
		if err := s.change(r.ID, func(st *stored) {
			if delete(st.Absent, k); st.Networks == nil {
				st.Networks = map[string]*dn.EndpointSettings{}
			}
			st.Networks[n.ID] = a.settings
		}); err != nil {
			return err
		}
	}
	return s.moved(r)
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
		if why := n.wrongAddresses(c); why != "" {
			return attachment{}, badRequest("invalid endpoint settings:\n%s", why)
		}
	}
	if err := checkEndpointOptions(settings.DriverOpts); err != nil {
		return attachment{}, err
	}
	if c := settings.IPAMConfig; c != nil {
		for _, ip := range c.LinkLocalIPs {
			if !ip.IsLinkLocalUnicast() {
				return attachment{}, badRequest("invalid link local IP address: %s", ip)
			}
		}
	}
	if n.spec.Driver == network.Ipvlan && len(settings.MacAddress) > 0 {
		return attachment{}, badRequest("ipvlan interfaces do not support custom mac address assignment")
	}
	a := attachment{net: n, settings: settings}
	if n.named() {
		a.names = append([]string{name}, settings.Aliases...)
	}
	return a, nil
}

// wrongAddresses tells what is wrong with the addresses that are asked for, in Docker's words; "" if nothing is.
func (n net_) wrongAddresses(c *dn.EndpointIPAMConfig) string {
	var all []string
	if !n.named() && (c.IPv4Address.IsValid() || c.IPv6Address.IsValid()) {
		all = append(all, "user-specified IP address is supported on user-defined networks only")
	}
	for _, one := range []struct {
		family string
		ip     netip.Addr
		fits   bool
	}{{"IPv4", c.IPv4Address, c.IPv4Address.Is4()}, {"IPv6", c.IPv6Address, c.IPv6Address.Is6() && !c.IPv6Address.Is4In6() && c.IPv6Address.Zone() == ""}} {
		if !one.ip.IsValid() {
			continue
		}
		if !one.fits || one.ip.IsUnspecified() {
			all = append(all, "invalid "+one.family+" address: "+one.ip.String())
		}
		if why := n.refuses(one.ip.WithZone("")); why != "" || !one.fits {
			all = append(all, cmp.Or(why, "no configured subnet contains IP address "+one.ip.String()))
		}
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return "* " + strings.Join(all, "\n* ")
}

// refuses tells why an address cannot be had in a network; "" if it can.
func (n net_) refuses(ip netip.Addr) string {
	if slices.ContainsFunc(n.spec.Subnets, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return ""
	}
	return "no configured subnet contains IP address " + ip.String()
}

// configOnly refuses a place in a network that is none.
func configOnly(n net_) error {
	return fail(http.StatusForbidden, "cannot create endpoint on configuration-only network %s", n.Name)
}

// checkEndpointOptions refuses what would have no effect.
func checkEndpointOptions(opts map[string]string) error {
	for k, v := range opts {
		switch k {
		case optLink:
			if !linkName.MatchString(v) {
				return badRequest("invalid interface name %q: at most 15 characters, none of them a slash or a blank", v)
			}
		case optSysctls:
			if _, err := endpointSysctls(v); err != nil {
				return err
			}
		default:
			if strings.HasPrefix(k, "com.docker.network.") {
				return badRequest("endpoint option %s is not supported: %s and %s are", k, optLink, optSysctls)
			}
		}
	}
	return nil
}

// endpointSysctls reads "net.ipv4.conf.IFNAME.log_martians=1,…" into paths below /proc/sys.
func endpointSysctls(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	out := map[string]string{}
	for _, part := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		f := strings.Split(name, ".")
		if !ok || len(f) != 5 || f[0] != "net" || f[3] != "IFNAME" || !slices.Contains([]string{"ipv4", "ipv6", "mpls"}, f[1]) || strings.ContainsAny(name, "/") {
			return nil, badRequest("unrecognised network interface sysctl '%s'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'", part)
		}
		out[strings.ReplaceAll(name, ".", "/")] = value
	}
	return out, nil
}

// moved does what follows from a container's coming into or going out of a network: its resolv.conf, and the server of names.
func (s *Server) moved(r *container.Record) error {
	r, err := s.e.Containers.Get(r.ID)
	if err != nil {
		return err
	}
	st := load(r)
	var nets []attachment
	for id, settings := range st.Networks {
		if n, err := s.network(id); err == nil {
			nets = append(nets, attachment{net: n, settings: settings})
		}
	}
	if err := s.e.Sandboxes.SetDNS(r.Config.Sandbox, dnsOf(st.Host, nets)); err != nil {
		return err
	}
	return s.resolve.joined(r.Config.Sandbox)
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
	a, err := attach(n, req.EndpointConfig, r.Config.Name)
	switch {
	case err != nil:
		return err
	case n.spec.Name == "" && n.Name == dn.NetworkHost, st.Host.NetworkMode.IsHost():
		return badRequest("cannot connect container to host network - container must be created in host network mode")
	case n.spec.Name == "", st.Host.NetworkMode.IsNone():
		return fail(http.StatusForbidden, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
	case n.ConfigOnly:
		return configOnly(n)
	case !st.Own:
		return fail(http.StatusForbidden, "container sharing network namespace with another container or host cannot be connected to any other network")
	case st.Networks[n.ID] != nil:
		return fail(http.StatusForbidden, "endpoint with name %s already exists in network %s", r.Config.Name, n.Name)
	}
	defer s.op.lock(r.ID)()
	if err := s.e.Sandboxes.Connect(c.ctx(), r.Config.Sandbox, a.engine()); err != nil {
		var ports []network.Port
		if sb, gone := s.e.Sandboxes.Get(r.Config.Sandbox); gone == nil {
			ports = sb.Config.Ports
		}
		if err = placeError(r, ports, err); statusOf(err) == http.StatusForbidden || statusOf(err) == http.StatusBadRequest {
			return fail(statusOf(err), "%s", strings.TrimPrefix(err.Error(), networking))
		}
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
	if running(r) {
		s.hub.publish(de.NetworkEventType, "connect", n.ID, map[string]string{"name": n.Name, "type": n.Driver, "container": r.ID}, time.Time{})
	}
	if err := s.moved(r); err != nil {
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
		if r, missing := s.find(req.Container); missing == nil && req.Force && statusOf(err) == http.StatusNotFound {
			return s.forgetNetworks(c, r)
		}
		return err
	}
	r, err := s.find(req.Container)
	if err != nil {
		if req.Force {
			return notFound("endpoint %s not found", req.Container)
		}
		return err
	}
	if st := load(r); st.Host.NetworkMode.IsHost() && n.Name == dn.NetworkHost {
		return badRequest("cannot disconnect container from host network - container was created in host network mode")
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
	if running(r) {
		s.hub.publish(de.NetworkEventType, "disconnect", n.ID, map[string]string{"name": n.Name, "type": n.Driver, "container": r.ID}, time.Time{})
	}
	if err := s.moved(r); err != nil {
		return err
	}
	return c.done(http.StatusOK)
}

// forgetNetworks takes a container that does not run out of the networks that are gone: it could not start any more.
func (s *Server) forgetNetworks(c *call, r *container.Record) error {
	var gone []string
	for id := range load(r).Networks {
		if _, err := s.network(id); err != nil {
			gone = append(gone, id)
		}
	}
	if len(gone) == 0 {
		return fail(http.StatusInternalServerError, "container %s is not connected to the network %s", r.ID, c.vars["id"])
	}
	defer s.op.lock(r.ID)()
	for _, id := range gone {
		if err := s.e.Sandboxes.Disconnect(c.ctx(), r.Config.Sandbox, id); err != nil && !errors.Is(err, sandbox.ErrNotFound) {
			return err
		}
	}
	if err := s.change(r.ID, func(st *stored) {
		for _, id := range gone {
			delete(st.Networks, id)
		}
	}); err != nil {
		return err
	}
	return c.done(http.StatusOK)
}
