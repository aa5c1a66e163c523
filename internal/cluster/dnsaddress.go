package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dnsAddresses puts the DNS service's addresses on this node's loopback, so that
// every node answers its own pods, and gives them with the port to listen on.
// An address of a family that the host has not is left out.
func dnsAddresses(c *Config) ([]string, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find loopback: %w", err)
	}
	var out []string
	for _, ip := range c.ClusterDNS {
		err := netlink.AddrReplace(lo, hostAddress(ip))
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) && ip.Is6() {
			continue // IPv6 is switched off
		}
		if err != nil {
			return nil, fmt.Errorf("add address %s to loopback: %w", ip, err)
		}
		out = append(out, net.JoinHostPort(ip.String(), strconv.Itoa(c.DNSPort)))
	}
	return out, nil
}

// dnsPorts is where the DNS of this node listens.
func (c *Config) dnsPorts() (out []netip.AddrPort) {
	for _, ip := range c.ClusterDNS {
		out = append(out, netip.AddrPortFrom(ip, uint16(c.DNSPort)))
	}
	return out
}

func hostAddress(ip netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}, Scope: unix.RT_SCOPE_HOST}
	if ip.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// purgeDNSAddresses takes them away again.
func purgeDNSAddresses(c *Config) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	var errs []error
	for _, ip := range c.ClusterDNS {
		if err := netlink.AddrDel(lo, hostAddress(ip)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("remove address %s from loopback: %w", ip, err))
		}
	}
	return errors.Join(errs...)
}
