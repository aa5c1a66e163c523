package docker

import (
	"net/netip"
	"strings"
	"testing"

	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/network"
)

func TestIPAMIsChecked(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	for _, c := range []struct {
		name string
		conf dn.IPAMConfig
		want string
	}{
		{"plain", dn.IPAMConfig{Subnet: p("10.9.0.0/16"), IPRange: p("10.9.1.0/24"), Gateway: a("10.9.0.9"), AuxAddress: map[string]netip.Addr{"x": a("10.9.0.5")}}, ""},
		{"host bits", dn.IPAMConfig{Subnet: p("10.9.0.1/16")}, "invalid subnet 10.9.0.1/16: it should be 10.9.0.0/16"},
		{"range elsewhere", dn.IPAMConfig{Subnet: p("10.9.0.0/16"), IPRange: p("10.8.0.0/24")}, "invalid ip-range 10.8.0.0/24: parent subnet 10.9.0.0/16 doesn't contain ip-range"},
		{"range too big", dn.IPAMConfig{Subnet: p("10.9.0.0/16"), IPRange: p("10.0.0.0/8")}, "invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.9.0.0/16"},
		{"range of the other family", dn.IPAMConfig{Subnet: p("10.9.0.0/16"), IPRange: p("fd00::/64")}, "invalid ip-range fd00::/64: parent subnet is an IPv4 block"},
		{"gateway elsewhere", dn.IPAMConfig{Subnet: p("10.9.0.0/16"), Gateway: a("10.8.0.1")}, "invalid gateway 10.8.0.1: parent subnet 10.9.0.0/16 doesn't contain this address"},
		{"auxiliary elsewhere", dn.IPAMConfig{Subnet: p("10.9.0.0/16"), AuxAddress: map[string]netip.Addr{"x": a("10.8.0.1")}}, "invalid auxiliary address x 10.8.0.1: parent subnet 10.9.0.0/16 doesn't contain this address"},
		{"no subnet", dn.IPAMConfig{Gateway: a("10.8.0.1")}, "a subnet is needed"},
	} {
		err := checkIPAM([]dn.IPAMConfig{c.conf}, true)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if err := checkIPAM([]dn.IPAMConfig{{Subnet: p("fd00::/64")}}, false); err == nil {
		t.Error("an IPv6 subnet without IPv6 was taken")
	}
	if err := checkIPAM([]dn.IPAMConfig{{Subnet: p("10.0.0.0/8")}, {Subnet: p("10.9.0.0/16")}}, true); err == nil {
		t.Error("subnets that overlap were taken")
	}
}

func TestNetworkOptions(t *testing.T) {
	make := func(driver network.Driver, internal bool, opts map[string]string) (network.Spec, error) {
		n := net_{Network: dn.Network{Name: "n", Driver: string(driver), Internal: internal, Options: opts}, spec: network.Spec{Driver: driver}}
		err := networkOptions(&n)
		return n.spec, err
	}
	for _, c := range []struct {
		name     string
		driver   network.Driver
		internal bool
		opts     map[string]string
		holds    func(network.Spec) bool
		err      string
	}{
		{"icc off", network.Bridge, false, map[string]string{optICC: "false"}, func(s network.Spec) bool { return s.NoPeers && s.Apart }, ""},
		{"no masquerade", network.Bridge, false, map[string]string{optMasq: "0"}, func(s network.Spec) bool { return s.NoMasq }, ""},
		{"name", network.Bridge, false, map[string]string{optName: "br-x"}, func(s network.Spec) bool { return s.Link == "br-x" }, ""},
		{"long name", network.Bridge, false, map[string]string{optName: "a-name-that-is-too-long"}, nil, "at most 15 characters"},
		{"mtu", network.Bridge, false, map[string]string{optMTU: "1400"}, func(s network.Spec) bool { return s.MTU == 1400 }, ""},
		{"bad mtu", network.Bridge, false, map[string]string{optMTU: "12"}, nil, "invalid value"},
		{"not a boolean", network.Bridge, false, map[string]string{optICC: "maybe"}, nil, `failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing "maybe": invalid syntax)`},
		{"routed", network.Bridge, false, map[string]string{optReach6: "routed"}, func(s network.Spec) bool { return s.Reach[1] == network.RoutedReach && s.Reach[0] == network.NAT }, ""},
		{"isolated", network.Bridge, true, map[string]string{optReach4: "isolated"}, func(s network.Spec) bool { return s.Reach[0] == network.Isolated }, ""},
		{"isolated, not internal", network.Bridge, false, map[string]string{optReach4: "isolated"}, nil, "can only be used for an internal network"},
		{"no such mode", network.Bridge, false, map[string]string{optReach4: "x"}, nil, "unknown gateway mode x"},
		{"unknown option", network.Bridge, false, map[string]string{"com.docker.network.bridge.inhibit_ipv4": "true"}, nil, "is not supported by the bridge driver"},
		{"not that option", network.Bridge, false, map[string]string{"com.docker.network.bridge.inhibit_ipv4": "false"}, func(network.Spec) bool { return true }, ""},
		{"nobody's option", network.Bridge, false, map[string]string{"com.docker.network.bridge.nonsense": "1"}, func(network.Spec) bool { return true }, ""},
		{"nobody's option of a macvlan", network.Macvlan, false, map[string]string{"parent": "eth0", "foo": "bar"}, func(s network.Spec) bool { return s.Parent == "eth0" }, ""},
		{"a stranger's option", network.Bridge, false, map[string]string{"org.example": "x"}, func(network.Spec) bool { return true }, ""},
		{"macvlan", network.Macvlan, false, map[string]string{"parent": "eth0", "macvlan_mode": "private"}, func(s network.Spec) bool { return s.Parent == "eth0" && s.Mode == "private" }, ""},
		{"macvlan by default", network.Macvlan, false, nil, func(s network.Spec) bool { return s.Mode == "bridge" }, ""},
		{"macvlan mode", network.Macvlan, false, map[string]string{"macvlan_mode": "l2"}, nil, "requested macvlan mode 'l2' is not valid"},
		{"macvlan on loopback", network.Macvlan, false, map[string]string{"parent": "lo"}, nil, "loopback interface is not a valid macvlan parent link"},
		{"ipvlan", network.Ipvlan, false, map[string]string{"ipvlan_mode": "l3s", "ipvlan_flag": "vepa"}, func(s network.Spec) bool { return s.Mode == "l3s" && s.Flag == "vepa" }, ""},
		{"ipvlan flag", network.Ipvlan, false, map[string]string{"ipvlan_flag": "x"}, nil, "requested ipvlan flag 'x' is not valid"},
		{"no such driver", "weave", false, nil, nil, `plugin "weave" not found`},
	} {
		s, err := make(c.driver, c.internal, c.opts)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)), c.err == "" && err != nil:
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		case c.holds != nil && !c.holds(s):
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestFamilies(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name   string
		field  *bool
		option string
		want   bool
		err    string
	}{
		{"nothing", nil, "", true, ""},
		{"the field", &no, "", false, ""},
		{"the option", nil, "false", false, ""},
		{"the option before the field", &yes, "0", false, ""},
		{"no boolean", &yes, "maybe", false, `driver-opt "com.docker.network.enable_ipv4" is not a valid bool`},
	} {
		req := dn.CreateRequest{}
		if tt.option != "" {
			req.Options = map[string]string{optIPv4: tt.option}
		}
		got, err := family(req, optIPv4, tt.field, true)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
}

func TestEndpointSysctls(t *testing.T) {
	got, err := endpointSysctls("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2")
	if err != nil || got["net/ipv4/conf/IFNAME/log_martians"] != "1" || got["net/ipv6/conf/IFNAME/accept_ra"] != "2" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"net.ipv4.conf.eth0.log_martians=1", "kernel.x.y.IFNAME.z=1", "net.ipv4.conf.IFNAME.x", "net.core.x.IFNAME.y=1", "net.ipv4.../..IFNAME.x=1"} {
		if _, err := endpointSysctls(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
