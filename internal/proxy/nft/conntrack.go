package nft

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nau/internal/proxy"
)

// Conntrack implements proxy.Conntrack by netlink, in the network namespace of the calling thread.
type Conntrack struct{}

// Forget implements proxy.Conntrack: one dump per family, whatever the number of flows.
func (Conntrack) Forget(stale []proxy.Stale) error {
	byFamily := map[netlink.InetFamily]*flows{}
	for _, s := range stale {
		family := netlink.InetFamily(unix.AF_INET)
		if s.V6 {
			family = unix.AF_INET6
		}
		if byFamily[family] == nil {
			byFamily[family] = &flows{map[proxy.Stale]bool{}, map[proxy.Stale]bool{}}
		}
		if s.Addr.IsValid() {
			byFamily[family].exact[s] = true
		} else {
			byFamily[family].anywhere[s] = true
		}
	}
	for family, f := range byFamily {
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f); err != nil {
			return fmt.Errorf("forget stale flows: %w", err)
		}
	}
	return nil
}

// flows matches conntrack entries against what is stale.
type flows struct{ exact, anywhere map[proxy.Stale]bool }

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f *flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	key := proxy.Stale{Addr: addrOf(flow.Forward.DstIP), Port: flow.Forward.DstPort, V6: flow.FamilyType == unix.AF_INET6}
	if answers := addrOf(flow.Reverse.SrcIP); answers != key.Addr {
		key.Endpoint = answers // else nobody has translated it
	}
	if f.exact[key] {
		return true
	}
	key.Addr = netip.Addr{}
	return f.anywhere[key]
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
