package network

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestPoolBounds(t *testing.T) {
	for _, c := range []struct{ prefix, gateway, first, last string }{
		{"10.42.0.0/24", "10.42.0.1", "10.42.0.2", "10.42.0.254"},
		{"10.42.0.0/16", "10.42.0.1", "10.42.0.2", "10.42.255.254"},
		{"10.42.3.128/25", "10.42.3.129", "10.42.3.130", "10.42.3.254"},
		{"192.0.2.0/30", "192.0.2.1", "192.0.2.2", "192.0.2.2"},
		{"fd42::/64", "fd42::1", "fd42::2", "fd42::ffff:ffff:ffff:ffff"},
		{"fd42:0:0:7::/120", "fd42:0:0:7::1", "fd42:0:0:7::2", "fd42:0:0:7::ff"},
	} {
		p, err := newPool(netip.MustParsePrefix(c.prefix), planOf(netip.MustParsePrefix(c.prefix)))
		if err != nil {
			t.Fatal(err)
		}
		if p.gateway.String() != c.gateway || p.first.String() != c.first || p.last.String() != c.last {
			t.Errorf("%s: gateway %s, %s to %s; want %s, %s to %s", c.prefix, p.gateway, p.first, p.last, c.gateway, c.first, c.last)
		}
	}
	if _, err := newPool(netip.MustParsePrefix("10.0.0.0/31"), planOf(netip.MustParsePrefix("10.0.0.0/31"))); err == nil {
		t.Error("a /31 was taken for a pool")
	}
}

func TestFreedAddressWaitsForTheWholeRound(t *testing.T) {
	p, _ := newPool(netip.MustParsePrefix("10.0.0.0/28"), planOf(netip.MustParsePrefix("10.0.0.0/28"))) // 13 to lease
	a, _ := p.lease("a")
	p.free(a, "a")
	for range 12 {
		b, err := p.lease("b")
		if err != nil || b == a {
			t.Fatalf("got %s, %v while the round was not over", b, err)
		}
	}
	if b, err := p.lease("c"); err != nil || b != a {
		t.Fatalf("got %s, %v; want the freed %s", b, err, a)
	}
	if _, err := p.lease("d"); !errors.Is(err, ErrNoAddress) {
		t.Fatalf("full pool: %v", err)
	}
}

func TestTakeAndFreeKeepOwners(t *testing.T) {
	p, _ := newPool(netip.MustParsePrefix("fd42::/64"), planOf(netip.MustParsePrefix("fd42::/64")))
	a := netip.MustParseAddr("fd42::2")
	if err := p.take(a, "x"); err != nil {
		t.Fatal(err)
	}
	if err := p.take(a, "y"); err == nil {
		t.Fatal("two owners of one address")
	}
	p.free(a, "y")
	if b, _ := p.lease("z"); b == a {
		t.Fatal("freed by a stranger")
	}
	for _, bad := range []string{"fd42::1", "fd43::5", "10.0.0.1"} {
		if err := p.take(netip.MustParseAddr(bad), "x"); err == nil {
			t.Errorf("took %s", bad)
		}
	}
}

func TestCursorGoesRound(t *testing.T) {
	p, _ := newPool(netip.MustParsePrefix("10.0.0.0/29"), planOf(netip.MustParsePrefix("10.0.0.0/29"))) // .2 to .6
	if got := p.ahead(5); got != p.next {
		t.Fatalf("a whole round leads to %s, not %s", got, p.next)
	}
	p.seek(netip.MustParseAddr("10.0.0.6"))
	a, _ := p.lease("a")
	b, _ := p.lease("b")
	if a.String() != "10.0.0.6" || b.String() != "10.0.0.2" {
		t.Fatalf("got %s, %s", a, b)
	}
}

func planOf(p netip.Prefix) Plan { return Plan{Gateway: p.Masked().Addr().Next()} }

func TestPlanNarrowsAPool(t *testing.T) {
	addr := netip.MustParseAddr
	p, err := newPool(netip.MustParsePrefix("10.0.0.0/24"), Plan{Gateway: addr("10.0.0.254"), Range: netip.MustParsePrefix("10.0.0.128/30"), Reserved: []netip.Addr{addr("10.0.0.129")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10.0.0.128", "10.0.0.130", "10.0.0.131"} {
		if a, err := p.lease("a"); err != nil || a.String() != want {
			t.Fatalf("leased %s, %v; want %s", a, err, want)
		}
	}
	if _, err := p.lease("a"); !errors.Is(err, ErrNoAddress) {
		t.Fatalf("full range: %v", err)
	}
	if err := p.take(addr("10.0.0.7"), "b"); err != nil {
		t.Fatalf("an address outside the range may be asked for: %v", err)
	}
	for _, held := range []string{"10.0.0.254", "10.0.0.129", "10.0.0.7"} {
		if err := p.take(addr(held), "c"); !errors.Is(err, ErrAddressTaken) {
			t.Errorf("take %s: %v", held, err)
		}
	}
	if _, err := newPool(netip.MustParsePrefix("10.0.0.0/24"), Plan{Range: netip.MustParsePrefix("10.0.1.0/25")}); err == nil {
		t.Error("a range outside the subnet was taken")
	}
	full, err := newPool(netip.MustParsePrefix("10.0.0.0/24"), Plan{Gateway: addr("10.0.0.1"), Range: netip.MustParsePrefix("10.0.0.1/32")})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := full.lease("a"); !errors.Is(err, ErrNoAddress) {
		t.Errorf("leased %s, %v of a range that the gateway fills", a, err)
	}
}

func TestLinkLocal(t *testing.T) {
	// RFC 4291, appendix A: the inverted bit and the inserted ff:fe
	if got := linkLocal(net.HardwareAddr{0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}).String(); got != "fe80::3656:78ff:fe9a:bcde/64" {
		t.Error(got)
	}
}
