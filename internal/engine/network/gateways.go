package network

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// everywhere is the destination of a default route.
func everywhere(v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// leadsOut reports whether a network has a way to the world.
func leadsOut(s Spec) bool { return !s.Internal || s.Routed }

// defaults are the default routes through one endpoint.
func (m *Manager) defaults(s Spec, e Endpoint, index int) []request {
	if !leadsOut(s) {
		return nil
	}
	var out []request
	if s.Driver == Ipvlan && strings.HasPrefix(s.Mode, "l3") { // the kernel routes by itself: there is no neighbour to ask
		for _, a := range e.Addrs {
			out = append(out, route{to: everywhere(a.Addr().Is6()), kind: unix.RTN_UNICAST, dev: index}.request(false))
		}
		return out
	}
	for _, gw := range e.Gateways {
		out = append(out, route{to: everywhere(gw.Is6()), kind: unix.RTN_UNICAST, dev: index, via: gw}.request(false))
	}
	return out
}

// Leading finds, among a sandbox's endpoints, the one whose gateway of a family is the sandbox's: the highest priority, and among equal ones the
// first by rank. It is -1 where no network leads out.
func (m *Manager) Leading(eps []Endpoint, v6 bool) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return leading(eps, func(e Endpoint) bool {
		n, ok := m.nets[e.Network]
		if !ok || !leadsOut(n.spec) {
			return false
		}
		l3 := n.spec.Driver == Ipvlan && strings.HasPrefix(n.spec.Mode, "l3")
		return slices.ContainsFunc(e.Gateways, func(a netip.Addr) bool { return a.Is6() == v6 }) ||
			l3 && slices.ContainsFunc(e.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
	})
}

func leading(eps []Endpoint, can func(Endpoint) bool) int {
	best := -1
	for i, e := range eps {
		if !can(e) {
			continue
		}
		if best < 0 || cmp.Or(cmp.Compare(e.Priority, eps[best].Priority), cmp.Compare(eps[best].Rank, e.Rank)) > 0 {
			best = i
		}
	}
	return best
}

// Gateways writes the default routes of a sandbox with several endpoints, or with one that came or went.
func (m *Manager) Gateways(netns *os.File, eps []Endpoint) error {
	var in *rtnl
	if err := Inside(netns, func() (err error) { in, err = openRtnl(); return err }); err != nil {
		return err
	}
	defer in.close()
	for _, v6 := range []bool{false, true} {
		if v6 && !m.v6 {
			break
		}
		i := m.Leading(eps, v6)
		if i < 0 {
			if err := in.do(route{to: everywhere(v6), kind: unix.RTN_UNICAST}.request(true)); err != nil {
				return err
			}
			continue
		}
		index, _, err := in.link(eps[i].Link)
		if err != nil {
			return err
		}
		m.mu.Lock()
		spec := m.nets[eps[i].Network].spec
		m.mu.Unlock()
		one := eps[i]
		one.Gateways = slices.DeleteFunc(slices.Clone(one.Gateways), func(a netip.Addr) bool { return a.Is6() != v6 })
		one.Addrs = slices.DeleteFunc(slices.Clone(one.Addrs), func(p netip.Prefix) bool { return p.Addr().Is6() != v6 })
		if err := in.do(m.defaults(spec, one, index)...); err != nil {
			return err
		}
	}
	return nil
}

// writeSysctls writes settings of a link from inside its namespace.
func writeSysctls(link string, settings map[string]string) error {
	for name, value := range settings {
		path := strings.ReplaceAll(name, "IFNAME", link)
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
			return fmt.Errorf("set sysctl %s: %w", path, errors.Unwrap(err))
		}
	}
	return nil
}
