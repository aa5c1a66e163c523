package sandbox

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestParseResolv(t *testing.T) {
	for _, c := range []struct {
		in   string
		want DNS
	}{
		{"", DNS{}},
		{"# nameserver 1.1.1.1\n;x\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nnameserver what\n", DNS{Servers: []string{"10.0.0.2", "fe80::1%eth0"}}},
		{"search a.b c.d\nsearch e.f\noptions ndots:5\noptions edns0 trust-ad\n", DNS{Searches: []string{"e.f"}, Options: []string{"ndots:5", "edns0", "trust-ad"}}},
		{"domain x\nnameserver\n  nameserver 1.2.3.4  \n", DNS{Searches: []string{"x"}, Servers: []string{"1.2.3.4"}}},
	} {
		if got := parseResolv(strings.NewReader(c.in)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, want %+v", c.in, got, c.want)
		}
	}
}

func TestRenderRefusesEntriesWithLineBreaks(t *testing.T) {
	b, err := DNS{Servers: []string{"10.43.0.10"}, Searches: []string{"a", "b"}, Options: []string{"ndots:5"}}.render()
	if err != nil || string(b) != "search a b\nnameserver 10.43.0.10\noptions ndots:5\n" {
		t.Fatalf("got %q, %v", b, err)
	}
	if b, err := (DNS{Servers: []string{"10.43.0.10"}, Searches: []string{"a", "b"}, ServersFirst: true}).render(); err != nil || string(b) != "nameserver 10.43.0.10\nsearch a b\n" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := (DNS{Searches: []string{"a\nnameserver 6.6.6.6"}}).render(); err == nil {
		t.Error("a search domain wrote a line of its own")
	}
	if _, err := renderHosts(nil, "h", "", nil, []HostAlias{{Addr: netip.MustParseAddr("1.1.1.1"), Names: []string{"x\n2.2.2.2 y"}}}); err == nil {
		t.Error("an alias wrote a line of its own")
	}
}

// A sandbox cannot reach a server on the host's loopback: not a resolver of the host's own, and not systemd-resolved's stub.
func TestReachable(t *testing.T) {
	for _, tt := range []struct{ host, behind, own, shared string }{
		{"10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.1"},
		{"127.0.0.53", "10.0.0.2 fe80::1", "10.0.0.2 fe80::1", "127.0.0.53"},
		{"127.0.0.1 10.0.0.1 ::1", "10.0.0.2", "10.0.0.1", "127.0.0.1 10.0.0.1 ::1"},
		{"127.0.0.1 ::1", "", "8.8.8.8 8.8.4.4", "127.0.0.1 ::1"},
		{"", "127.0.0.2", "8.8.8.8 8.8.4.4", ""},
	} {
		for own, want := range map[bool]string{true: tt.own, false: tt.shared} {
			got := reachable(own, DNS{Servers: strings.Fields(tt.host), Searches: []string{"x"}}, func() DNS { return DNS{Servers: strings.Fields(tt.behind)} })
			if strings.Join(got.Servers, " ") != want || len(got.Searches) != 1 {
				t.Errorf("%q before %q, own network %v: %q, want %q", tt.host, tt.behind, own, got.Servers, want)
			}
		}
	}
}

func FuzzParseResolv(f *testing.F) {
	f.Add("nameserver 10.0.0.1\nsearch a b\noptions x\n")
	f.Fuzz(func(t *testing.T, in string) {
		d := parseResolv(strings.NewReader(in))
		b, err := d.render()
		if err != nil {
			t.Fatalf("parsed %q to what cannot be written: %v", in, err)
		}
		if again := parseResolv(strings.NewReader(string(b))); !reflect.DeepEqual(again, d) {
			t.Fatalf("%q: %+v became %+v", in, d, again)
		}
	})
}

func TestHostsOfTheHostsNetwork(t *testing.T) {
	own := []byte("127.0.0.1 localhost\n192.0.2.1 me")
	got, err := renderHosts(own, "", "", nil, []HostAlias{{Addr: netip.MustParseAddr("1.1.1.1"), Names: []string{"x"}}})
	if want := "127.0.0.1 localhost\n192.0.2.1 me\n1.1.1.1\tx\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
