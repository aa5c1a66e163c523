package ipalloc

import (
	"errors"
	"net/netip"
	"testing"
)

func TestEveryAddressOnceAndNoneBesides(t *testing.T) {
	for _, tc := range []struct {
		cidr string
		want int
	}{{"10.0.0.0/28", 14}, {"10.0.0.0/24", 254}, {"fd00::/120", 255}, {"10.0.0.4/30", 2}} {
		a := NewAddresses(netip.MustParsePrefix(tc.cidr))
		seen := map[netip.Addr]bool{}
		for {
			ip, err := a.Pick(func(ip netip.Addr) bool { return seen[ip] })
			if errors.Is(err, ErrFull) {
				break
			}
			if seen[ip] || !a.Contains(ip) {
				t.Fatalf("%s: picked %s", tc.cidr, ip)
			}
			seen[ip] = true
		}
		if len(seen) != tc.want {
			t.Errorf("%s: %d addresses, want %d", tc.cidr, len(seen), tc.want)
		}
	}
}

func TestTheLowPartIsLeftToChoosers(t *testing.T) {
	a := NewAddresses(netip.MustParsePrefix("10.43.0.0/16"))
	low := netip.MustParseAddr("10.43.1.0")
	for range 2000 {
		ip, err := a.Pick(func(netip.Addr) bool { return false })
		if err != nil || ip.Less(low) {
			t.Fatalf("picked %s, %v", ip, err)
		}
	}
}

func TestPorts(t *testing.T) {
	p := Ports{30000, 30099}
	seen := map[int32]bool{}
	for {
		n, err := p.Pick(func(n int32) bool { return seen[n] })
		if err != nil {
			break
		}
		if !p.Contains(n) || seen[n] {
			t.Fatal(n)
		}
		seen[n] = true
	}
	if len(seen) != 100 {
		t.Fatal(len(seen))
	}
}
