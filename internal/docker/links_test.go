package docker

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/sandbox"
)

// A link's line follows its container; lines of --add-host stay.
func TestMoveLinks(t *testing.T) {
	have := []sandbox.HostAlias{
		{Addr: netip.MustParseAddr("192.0.2.1"), Names: []string{"added"}},
		{Addr: netip.MustParseAddr("172.17.0.2"), Names: []string{"db", "postgres"}, Of: "0123456789ab"},
		{Addr: netip.MustParseAddr("172.17.0.3"), Names: []string{"cache"}, Of: "ba9876543210"},
	}
	got := moveLinks(have, func(id string) netip.Addr {
		if id == "0123456789ab" {
			return netip.MustParseAddr("172.17.0.9")
		}
		return netip.Addr{}
	})
	var text []string
	for i, h := range got {
		text = append(text, h.Addr.String()+" "+have[i].Addr.String())
	}
	if want := []string{"192.0.2.1 192.0.2.1", "172.17.0.9 172.17.0.2", "172.17.0.3 172.17.0.3"}; !slices.Equal(text, want) {
		t.Errorf("now and before: %q, want %q", text, want)
	}
}

func TestLinkedNames(t *testing.T) {
	for _, tt := range [][4]string{{"db", "fred", "c1", "db fred c1"}, {"c1", "0123456789ab", "c1", "c1 0123456789ab"}, {"db", "", "c1", "db c1"}} {
		if got := strings.Join(linkedNames(tt[0], tt[1], tt[2]), " "); got != tt[3] {
			t.Errorf("%q: %s", tt, got)
		}
	}
}

func TestLinks(t *testing.T) {
	got := linkEnv("web", "my-db", netip.MustParseAddr("172.17.0.5"), &dc.Config{Env: []string{"PATH=/bin", "HOME=/", "USER=x"},
		ExposedPorts: dn.PortSet{dn.MustParsePort("53/udp"): {}, dn.MustParsePort("5432/tcp"): {}}})
	want := []string{"MY_DB_NAME=/web/my-db", "MY_DB_PORT=tcp://172.17.0.5:5432", "MY_DB_PORT_5432_TCP=tcp://172.17.0.5:5432", "MY_DB_PORT_5432_TCP_ADDR=172.17.0.5", "MY_DB_PORT_5432_TCP_PORT=5432",
		"MY_DB_PORT_5432_TCP_PROTO=tcp", "MY_DB_PORT_53_UDP=udp://172.17.0.5:53", "MY_DB_PORT_53_UDP_ADDR=172.17.0.5", "MY_DB_PORT_53_UDP_PORT=53", "MY_DB_PORT_53_UDP_PROTO=udp", "MY_DB_ENV_USER=x"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for text, want := range map[string][2]string{"a": {"a", "a"}, "a:b": {"a", "b"}, "/a:/web/b": {"/a", "b"}, "/a": {"/a", "a"}} {
		if k, alias := splitLink(text); k != want[0] || alias != want[1] {
			t.Errorf("%s: %s %s", text, k, alias)
		}
	}
}
