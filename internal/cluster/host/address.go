package host

import (
	"net"
	"strings"

	"github.com/vishvananda/netlink"
)

// Addresses gives the machine's primary address of each family: the ones on the
// interface of the default route, else the first global ones that are not on an
// interface of Nau's own. The list is empty on a machine without a network.
func Addresses() []net.IP {
	var out []net.IP
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if ip := primary(family); ip != nil {
			out = append(out, ip)
		}
	}
	return out
}

func primary(family int) net.IP {
	links, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	preferred := -1
	if routes, err := netlink.RouteList(nil, family); err == nil {
		for _, r := range routes {
			if (r.Dst == nil || r.Dst.IP.IsUnspecified() && isZero(r.Dst.Mask)) && r.LinkIndex > 0 {
				preferred = r.LinkIndex
				break
			}
		}
	}
	var first net.IP
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Flags&net.FlagLoopback != 0 || strings.HasPrefix(attrs.Name, "nau") || attrs.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := netlink.AddrList(link, family)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if !a.IP.IsGlobalUnicast() || a.Flags&0x20 != 0 { // deprecated
				continue
			}
			if attrs.Index == preferred {
				return a.IP
			}
			if first == nil {
				first = a.IP
			}
		}
	}
	return first
}

func isZero(mask net.IPMask) bool {
	ones, _ := mask.Size()
	return ones == 0
}
