package docker

import (
	"net/netip"
	"testing"

	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/network"
)

// An address of the wrong family is said to be that; it was given to the container once, as what it is.
func TestWrongAddresses(t *testing.T) {
	n := net_{spec: network.Spec{Name: "n", Subnets: []netip.Prefix{netip.MustParsePrefix("172.28.0.0/16"), netip.MustParsePrefix("2001:db8::/64")}}}
	for _, tt := range []struct{ v4, v6, want string }{
		{"172.28.0.9", "2001:db8::9", ""},
		{"", "172.28.0.9", "* invalid IPv6 address: 172.28.0.9\n* no configured subnet contains IP address 172.28.0.9"},
		{"", "::ffff:172.28.0.9", "* invalid IPv6 address: ::ffff:172.28.0.9\n* no configured subnet contains IP address ::ffff:172.28.0.9"},
		{"2001:db8::9", "", "* invalid IPv4 address: 2001:db8::9\n* no configured subnet contains IP address 2001:db8::9"},
		{"0.0.0.0", "", "* invalid IPv4 address: 0.0.0.0\n* no configured subnet contains IP address 0.0.0.0"},
		{"10.1.1.1", "", "no configured subnet contains IP address 10.1.1.1"},
	} {
		c := &dn.EndpointIPAMConfig{}
		if tt.v4 != "" {
			c.IPv4Address = netip.MustParseAddr(tt.v4)
		}
		if tt.v6 != "" {
			c.IPv6Address = netip.MustParseAddr(tt.v6)
		}
		if got := n.wrongAddresses(c); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.v4, tt.v6, got, tt.want)
		}
	}
}
