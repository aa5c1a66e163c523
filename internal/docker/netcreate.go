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
	"strconv"
	"strings"
	"time"

	de "github.com/moby/moby/api/types/events"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/network"
	"nau/internal/engine/record"
)

// Options of networks and endpoints. Source: Docker's documentation of the bridge, macvlan and ipvlan drivers.
const (
	optDefault  = "com.docker.network.bridge.default_bridge"
	optName     = "com.docker.network.bridge.name"
	optICC      = "com.docker.network.bridge.enable_icc"
	optMasq     = "com.docker.network.bridge.enable_ip_masquerade"
	optIPv4     = "com.docker.network.enable_ipv4"
	optIPv6     = "com.docker.network.enable_ipv6"
	optHostIPv4 = "com.docker.network.bridge.host_binding_ipv4"
	optReach4   = "com.docker.network.bridge.gateway_mode_ipv4"
	optReach6   = "com.docker.network.bridge.gateway_mode_ipv6"
	optMTU      = "com.docker.network.driver.mtu"
	optPrefix   = "com.docker.network.container_iface_prefix"
	optLink     = "com.docker.network.endpoint.ifname"
	optSysctls  = "com.docker.network.endpoint.sysctls"
)

var (
	linkName = regexp.MustCompile(`^[^/\s:]{1,15}$`)
)

// createNetwork answers POST /networks/create.
func (s *Server) createNetwork(c *call) error {
	var req dn.CreateRequest
	if err := readJSON(c.Request, &req); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(req.Name) == "": // every other name is one: paths and links are made of the ID
		return badRequest("invalid name: name is empty")
	case req.Name == "default" || req.Name == "host" || req.Name == "none" || req.Name == "bridge":
		return fail(http.StatusForbidden, "operation is not permitted on predefined %s network ", req.Name)
	case s.e.Networks == nil:
		return fail(http.StatusServiceUnavailable, "this host's network is left alone: no network can be made")
	case req.Driver == "host" || req.Driver == "null":
		return fail(http.StatusForbidden, "only one instance of %q network is allowed", req.Driver)
	case req.Driver == "overlay" || req.Ingress || req.Scope == "swarm":
		return fail(http.StatusServiceUnavailable, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.")
	}
	n, err := s.makeNetwork(req)
	if err != nil {
		return err
	}
	s.hub.publish(de.NetworkEventType, "create", n.ID, map[string]string{"name": n.Name, "type": n.Driver}, time.Time{})
	return c.json(http.StatusCreated, dn.CreateResponse{ID: n.ID})
}

// makeNetwork makes a network of any kind.
func (s *Server) makeNetwork(req dn.CreateRequest) (net_, error) {
	s.nets.Lock()
	defer s.nets.Unlock()
	all := s.networks()
	for _, n := range all {
		if n.Name == req.Name {
			return net_{}, conflict("network with name %s already exists", req.Name)
		}
	}
	from := dn.ConfigReference{}
	if req.ConfigFrom != nil && req.ConfigFrom.Network != "" {
		from = *req.ConfigFrom
		if err := inherit(&req, all); err != nil {
			return net_{}, err
		}
	}
	id := record.NewID()
	n := net_{Network: dn.Network{Name: req.Name, ID: id, Created: time.Now().UTC(), Scope: "local", Driver: req.Driver, Internal: req.Internal, Attachable: req.Attachable,
		ConfigOnly: req.ConfigOnly, ConfigFrom: from, Options: maps.Clone(req.Options), Labels: maps.Clone(req.Labels), IPAM: dn.IPAM{Driver: "default"}}}
	if n.Options == nil {
		n.Options = map[string]string{}
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	if n.Driver == "" || n.Driver == "default" {
		n.Driver = "bridge"
	}
	var err error
	if n.EnableIPv4, err = family(req, optIPv4, req.EnableIPv4, true); err != nil {
		return net_{}, err
	}
	if n.EnableIPv6, err = family(req, optIPv6, req.EnableIPv6, false); err != nil {
		return net_{}, err
	}
	n.spec = network.Spec{Name: id, ID: id, Link: "nau-" + id[:10], MTU: s.e.Config().MTU, Internal: req.Internal, Labels: req.Labels, Driver: network.Driver(n.Driver)}
	var asked []dn.IPAMConfig
	if req.IPAM != nil {
		n.IPAM.Options, asked = req.IPAM.Options, req.IPAM.Config
		switch req.IPAM.Driver {
		case "", "default":
		case "null":
			return net_{}, badRequest("ipam driver null is not supported: use the default one")
		default:
			return net_{}, badRequest("error retrieving ipam driver %s: plugin %q not found", req.IPAM.Driver, req.IPAM.Driver)
		}
	}
	if err := checkIPAM(asked, n.EnableIPv6 || req.EnableIPv6 == nil); err != nil {
		return net_{}, err
	}
	if req.ConfigOnly {
		n.Driver, n.spec.Driver, n.IPAM.Config = "null", network.None, asked
		return n, s.keepNetwork(&n)
	}
	if err := networkOptions(&n); err != nil {
		return net_{}, err
	}
	if err := s.plan(&n, asked); err != nil {
		return net_{}, err
	}
	if req.Name == dn.NetworkBridge {
		n.Options[optName] = n.spec.Link
	}
	return n, s.keepNetwork(&n)
}

// keepNetwork writes a network's record and makes what it stands for.
func (s *Server) keepNetwork(n *net_) (err error) {
	if n.spec.Extra, err = json.Marshal(n.Network); err != nil {
		return err
	}
	if err := s.e.Networks.Ensure(n.spec); err != nil {
		if errors.Is(err, network.ErrExists) {
			return fail(http.StatusForbidden, "%s", oneLine(err))
		}
		return err
	}
	if n.ConfigOnly {
		return nil
	}
	return s.e.Networks.Rebuild()
}

// inherit fills a request from the configuration network that it names.
func inherit(req *dn.CreateRequest, all []net_) error {
	i := slices.IndexFunc(all, func(n net_) bool { return n.Name == req.ConfigFrom.Network })
	switch {
	case i < 0:
		return notFound("configuration network %q not found", req.ConfigFrom.Network)
	case !all[i].ConfigOnly:
		return fail(http.StatusForbidden, "network %q is not a configuration network", req.ConfigFrom.Network)
	case req.ConfigOnly:
		return fail(http.StatusForbidden, "a configuration network cannot depend on another configuration network")
	case req.IPAM != nil && (len(req.IPAM.Config) > 0 || len(req.IPAM.Options) > 0) || len(req.Options) > 0 || req.Internal || len(req.Labels) > 0 || req.EnableIPv6 != nil && *req.EnableIPv6:
		return fail(http.StatusForbidden, "user specified configurations are not supported if the network depends on a configuration network")
	}
	c := all[i]
	req.IPAM = &dn.IPAM{Options: c.IPAM.Options, Config: c.IPAM.Config}
	req.Options, req.Labels, req.Internal, req.EnableIPv6 = c.Options, c.Labels, c.Internal, &c.EnableIPv6
	return nil
}

// checkIPAM reports all that is wrong with what is asked for.
func checkIPAM(asked []dn.IPAMConfig, v6 bool) error {
	var errs []string
	add := func(format string, args ...any) { errs = append(errs, fmt.Sprintf(format, args...)) }
	for i, c := range asked {
		if !c.Subnet.IsValid() {
			if c.Gateway.IsValid() || c.IPRange.IsValid() || len(c.AuxAddress) > 0 {
				add("a subnet is needed beside a gateway, a range or auxiliary addresses")
			}
			continue
		}
		if c.Subnet.Masked() != c.Subnet {
			add("invalid subnet %s: it should be %s", c.Subnet, c.Subnet.Masked())
		}
		if c.Subnet.Addr().Is6() && !v6 {
			add("invalid subnet %s: IPv6 has not been enabled for this network", c.Subnet)
		}
		if r := c.IPRange; r.IsValid() {
			switch {
			case r.Addr().Is4() != c.Subnet.Addr().Is4():
				add("invalid ip-range %s: parent subnet is an %s block", r, familyName(c.Subnet.Addr()))
			case r.Bits() < c.Subnet.Bits():
				add("invalid ip-range %s: CIDR block is bigger than its parent subnet %s", r, c.Subnet)
			case r.Masked() != r:
				add("invalid ip-range %s: it should be %s", r, r.Masked())
			case !c.Subnet.Contains(r.Addr()):
				add("invalid ip-range %s: parent subnet %s doesn't contain ip-range", r, c.Subnet)
			}
		}
		within := func(what string, a netip.Addr) {
			switch {
			case a.Is4() != c.Subnet.Addr().Is4():
				add("invalid %s %s: parent subnet is an %s block", what, a, familyName(c.Subnet.Addr()))
			case !c.Subnet.Contains(a):
				add("invalid %s %s: parent subnet %s doesn't contain this address", what, a, c.Subnet)
			}
		}
		if c.Gateway.IsValid() {
			within("gateway", c.Gateway)
		}
		for _, name := range slices.Sorted(maps.Keys(c.AuxAddress)) {
			within("auxiliary address "+name, c.AuxAddress[name])
		}
		for _, o := range asked[:i] {
			if o.Subnet.IsValid() && o.Subnet.Overlaps(c.Subnet) {
				add("invalid subnet %s: it overlaps %s", c.Subnet, o.Subnet)
			}
		}
	}
	if len(errs) > 0 {
		return badRequest("invalid network config:\n%s", strings.Join(errs, "\n"))
	}
	return nil
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// family tells whether a network has addresses of a family: the option, which old Compose files have, is asked before the field.
func family(req dn.CreateRequest, option string, field *bool, otherwise bool) (bool, error) {
	v, ok := req.Options[option]
	if !ok {
		if field != nil {
			return *field, nil
		}
		return otherwise, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, badRequest("driver-opt %q is not a valid bool", option)
	}
	return on, nil
}

// notHad are Docker's own options that this engine has not: to take them would promise what is not kept.
var notHad = []string{"com.docker.network.bridge.inhibit_ipv4", "com.docker.network.bridge.trusted_host_interfaces", "com.docker.network.host_ipv4", "com.docker.network.host_ipv6"}

// networkOptions reads a network's options into its spec. One that Docker has and this engine has not is refused; one that no driver knows
// is kept and means nothing, as with Docker.
func networkOptions(n *net_) error {
	sp := &n.spec
	boolean := func(k, v string) (bool, error) {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return false, badRequest("failed to parse %s value: %s (%v)", k, v, err)
		}
		return b, nil
	}
	switch sp.Driver {
	case network.Bridge:
		sp.Apart = true
	case network.Macvlan:
		sp.Mode = "bridge"
	case network.Ipvlan:
		sp.Mode = "l2"
	default:
		return notFound("could not find plugin %s in v1 plugin registry: plugin %q not found", n.Driver, n.Driver)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Options)) {
		v := n.Options[k]
		bridge, vlan := sp.Driver == network.Bridge, sp.Driver != network.Bridge
		switch {
		case k == optMTU:
			mtu, err := strconv.Atoi(v)
			if err != nil || mtu < 0 || mtu > 0 && mtu < 68 || mtu > 65535 {
				return badRequest("invalid value for %s: %q", k, v)
			}
			if n.Name != dn.NetworkBridge && mtu > 0 {
				sp.MTU = mtu
			}
		case k == optPrefix:
			if !linkName.MatchString(v) || len(v) > 12 {
				return badRequest("invalid value for %s: %q: at most 12 characters, none of them a slash or a blank", k, v)
			}
		case bridge && k == optDefault:
			if n.Name != dn.NetworkBridge {
				return fail(http.StatusForbidden, "there is one default bridge, and it is there: leave %s away", k)
			}
		case bridge && k == optName:
			if !linkName.MatchString(v) {
				return badRequest("invalid value for %s: %q: at most 15 characters, none of them a slash or a blank", k, v)
			}
			sp.Link = v
		case bridge && k == optICC:
			on, err := boolean(k, v)
			if err != nil {
				return err
			}
			sp.NoPeers = !on
		case bridge && k == optMasq:
			on, err := boolean(k, v)
			if err != nil {
				return err
			}
			sp.NoMasq = !on
		case bridge && k == optHostIPv4:
			if a, err := netip.ParseAddr(v); err != nil || !a.Is4() {
				return badRequest("invalid value for %s: %q: an IPv4 address is needed", k, v)
			}
		case bridge && (k == optReach4 || k == optReach6):
			reach, i := network.Reach(v), 0
			if k == optReach6 {
				i = 1
			}
			switch {
			case v == "nat" || v == "":
				reach = network.NAT
			case reach == network.Isolated && !n.Internal:
				return badRequest("gateway mode 'isolated' can only be used for an internal network")
			case reach == network.RoutedReach || reach == network.NATUnprotected || reach == network.Isolated:
			default:
				return badRequest("unknown gateway mode %s", v)
			}
			sp.Reach[i] = reach
		case vlan && k == "parent":
			sp.Parent = v
		case vlan && k == string(sp.Driver)+"_mode", vlan && sp.Driver == network.Macvlan && k == "mode":
			if v != "" {
				sp.Mode = v
			}
		case sp.Driver == network.Ipvlan && k == "ipvlan_flag":
			sp.Flag = v
		case slices.Contains(notHad, k) && v != "" && v != "false":
			return badRequest("option %s is not supported by the %s driver", k, n.Driver)
		}
	}
	if sp.Driver == network.Bridge {
		return nil
	}
	if sp.Driver == network.Ipvlan && sp.Flag == "" {
		sp.Flag = "bridge"
	}
	if sp.Parent == "" {
		n.Internal, sp.Internal = true, true // a link that leads nowhere
	}
	if sp.Parent == "lo" {
		return badRequest("loopback interface is not a valid %s parent link", sp.Driver)
	}
	if err := network.CheckMode(sp.Driver, sp.Mode, sp.Flag); err != nil {
		return badRequest("%v", err)
	}
	return nil
}

// plan chooses a network's subnets, as asked for or from the pools.
func (s *Server) plan(n *net_, asked []dn.IPAMConfig) error {
	cfg := s.e.Config()
	pools := slices.Concat(cfg.ClusterCIDRs, cfg.ServiceCIDRs, cfg.PodCIDRs)
	for _, o := range s.e.Networks.Networks() {
		pools = append(pools, o.Subnets...)
	}
	if n.ConfigFrom.Network != "" {
		n.EnableIPv6 = n.EnableIPv6 || slices.ContainsFunc(asked, func(c dn.IPAMConfig) bool { return c.Subnet.IsValid() && c.Subnet.Addr().Is6() })
	}
	configs := slices.DeleteFunc(slices.Clone(asked), func(c dn.IPAMConfig) bool { return !c.Subnet.IsValid() })
	for _, c := range configs {
		if slices.ContainsFunc(pools, c.Subnet.Overlaps) {
			return fail(http.StatusForbidden, "invalid pool request: Pool overlaps with other one on this address space")
		}
		n.EnableIPv6 = n.EnableIPv6 || c.Subnet.Addr().Is6()
	}
	of := func(v6 bool) (count int) {
		for _, c := range configs {
			if c.Subnet.Addr().Is6() == v6 {
				count++
			}
		}
		return count
	}
	if n.spec.Driver == network.Bridge && (of(false) > 1 || of(true) > 1) {
		return fail(http.StatusForbidden, "bridge driver doesn't support multiple subnets")
	}
	if !n.EnableIPv4 && !n.EnableIPv6 {
		return badRequest("IPv4 or IPv6 must be enabled")
	}
	if !n.EnableIPv4 && of(false) > 0 {
		return badRequest("invalid network config:\nIPv4 has not been enabled for this network, and an IPv4 subnet is given")
	}
	if n.EnableIPv4 && of(false) == 0 {
		p, ok := freeRange(append(pools, s.hostRanges()...))
		if !ok {
			return fail(http.StatusBadRequest, "all predefined address pools have been fully subnetted")
		}
		configs = append(configs, dn.IPAMConfig{Subnet: p})
	}
	if n.EnableIPv6 && of(true) == 0 {
		p, err := netip.ParsePrefix(fmt.Sprintf("fd%s:%s:%s:1::/64", n.ID[:2], n.ID[2:6], n.ID[6:10]))
		if err != nil {
			return err
		}
		configs = append(configs, dn.IPAMConfig{Subnet: p.Masked()})
	}
	slices.SortStableFunc(configs, func(a, b dn.IPAMConfig) int { return a.Subnet.Addr().BitLen() - b.Subnet.Addr().BitLen() })
	n.spec.Subnets, n.spec.Plans = nil, nil
	for i := range configs {
		c := &configs[i]
		plan := network.Plan{Gateway: c.Gateway, Range: c.IPRange, Reserved: slices.Collect(maps.Values(c.AuxAddress)),
			Chosen: !slices.ContainsFunc(asked, func(a dn.IPAMConfig) bool { return a.Subnet == c.Subnet })}
		n.spec.Subnets, n.spec.Plans = append(n.spec.Subnets, c.Subnet), append(n.spec.Plans, plan)
		if !c.Gateway.IsValid() {
			c.Gateway = c.Subnet.Addr().Next()
			if c.IPRange.IsValid() && c.IPRange.Addr() != c.Subnet.Addr() {
				c.Gateway = firstOf(c.IPRange, c.Subnet)
			}
			n.spec.Plans[i].Gateway = c.Gateway
		}
	}
	n.IPAM.Config = configs
	return nil
}

// firstOf is the first address of a range that is not the subnet's own.
func firstOf(r, subnet netip.Prefix) netip.Addr {
	a := r.Masked().Addr()
	if a == subnet.Addr() {
		a = a.Next()
	}
	return a
}

// hostRanges are this machine's own: a network that may choose keeps off them.
func (s *Server) hostRanges() (out []netip.Prefix) {
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
