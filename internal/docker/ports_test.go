package docker

import (
	"strings"
	"testing"

	dn "github.com/moby/moby/api/types/network"
)

func TestHostPorts(t *testing.T) {
	for text, want := range map[string][2]int{"": {}, "0": {}, "80": {80, 80}, "008080": {8080, 8080}, "80-82": {80, 82}, "0-9": {0, 9}, "65535": {65535, 65535}} {
		if from, to, err := hostPorts(text); err != nil || from != want[0] || to != want[1] {
			t.Errorf("%q: %d-%d %v, want %v", text, from, to, err, want)
		}
	}
	for _, text := range []string{"aa80", "70000", "1-0", "90-80", "-1", "80-", "-80", " 80", "8080/tcp", "1-2-3", "+80"} {
		if from, to, err := hostPorts(text); err == nil || err.Error() != `invalid port specification: "`+text+`"` {
			t.Errorf("%q: %d-%d %v, want it refused", text, from, to, err)
		}
	}
}

func TestCheckBindings(t *testing.T) {
	p := dn.MustParsePort
	m := dn.PortMap{p("81/udp"): nil, p("80/tcp"): {}, p("82/tcp"): {{HostPort: "8082"}}}
	warnings, err := checkBindings(m)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "empty list of port-bindings: 80/tcp, 81/udp.") {
		t.Errorf("%q %v", warnings, err)
	}
	if len(m[p("80/tcp")]) != 1 || len(m[p("81/udp")]) != 1 || m[p("82/tcp")][0].HostPort != "8082" {
		t.Errorf("bindings became %v", m)
	}
	if _, err := checkBindings(dn.PortMap{p("80/tcp"): {{HostPort: "x"}}}); err == nil {
		t.Error("a port that is none was taken")
	}
	if _, err := checkBindings(dn.PortMap{p("80/foo"): {{}}}); err == nil || err.Error() != "invalid proto: foo" {
		t.Errorf("a protocol that is none: %v", err)
	}
}
