package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol and lastMetric mark Nau's routes, here as in the engine: lastMetric is larger than any metric that other routes have.
const (
	routeProtocol = 0x6e
	lastMetric    = 0xff002000
)

// InstallRoutes makes packets to a service range that no rule has translated unreachable, so that none is ever routed to a gateway.
// With device, connections of the host itself find a route there first, which they need before their destination can be translated; they come
// from the host's own address of sources that is of the service's family, where there is one, else from one of the device. It is idempotent.
func InstallRoutes(services []netip.Prefix, device string, sources ...net.IP) error {
	var link netlink.Link
	if device != "" {
		var err error
		if link, err = netlink.LinkByName(device); err != nil {
			return fmt.Errorf("find interface %s for service routes: %w", device, err)
		}
	}
	for _, p := range services {
		dst := &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		family := netlink.FAMILY_V4
		if p.Addr().Is6() {
			family = netlink.FAMILY_V6
		}
		last := &netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE, Priority: lastMetric, Protocol: routeProtocol, Family: family}
		if err := addRoute(last); err != nil {
			return fmt.Errorf("add unreachable route to %s: %w", p, err)
		}
		if link == nil {
			continue
		}
		near := &netlink.Route{Dst: dst, LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: routeProtocol, Family: family}
		for _, a := range sources {
			if (a.To4() == nil) == p.Addr().Is6() {
				near.Src = a
				break
			}
		}
		err := addRoute(near)
		if errors.Is(err, unix.EINVAL) && near.Src != nil {
			near.Src = nil // not an address of this host
			err = addRoute(near)
		}
		if err != nil {
			return fmt.Errorf("add route to %s by %s: %w", p, device, err)
		}
	}
	return nil
}

// addRoute is content with a route that is there, and with a host without IPv6.
func addRoute(r *netlink.Route) error {
	err := netlink.RouteAdd(r)
	if errors.Is(err, unix.EEXIST) || (r.Family == netlink.FAMILY_V6 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EACCES))) {
		return nil
	}
	return err
}

// RemoveRoutes takes the routes to service ranges away again; those of another instance, with other ranges, stay.
func RemoveRoutes(services []netip.Prefix) error {
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			errs = append(errs, fmt.Errorf("list service routes: %w", err))
			continue
		}
		for i := range routes {
			if routes[i].Dst == nil || !slices.ContainsFunc(services, func(p netip.Prefix) bool { return p.Masked().String() == routes[i].Dst.String() }) {
				continue
			}
			if err := netlink.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("delete route to %s: %w", routes[i].Dst, err))
			}
		}
	}
	return errors.Join(errs...)
}

// RouteLoopback lets packets from 127.0.0.0/8 leave by an interface, which node ports at 127.0.0.1 need. The table's Loopback guard must be on:
// otherwise neighbours could reach what listens on loopback only (the class of CVE-2020-8558).
func RouteLoopback(device string) error {
	path := "/proc/sys/net/ipv4/conf/" + device + "/route_localnet"
	if err := os.WriteFile(path, []byte("1"), 0); err != nil {
		return fmt.Errorf("route loopback by %s: %w", device, err)
	}
	return nil
}
