package oci_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"

	"nau/internal/kernel"
	"nau/internal/oci"
	"nau/internal/oci/ocitest"
)

// pair makes two devices that are one cable, and removes them at the end if they are still there.
func pair(t *testing.T) (a, b string) {
	t.Helper()
	ocitest.Need(t)
	a, b = fmt.Sprintf("nt%xa", os.Getpid()), fmt.Sprintf("nt%xb", os.Getpid())
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: a, MTU: 1400}, PeerName: b}
	if err := netlink.LinkAdd(v); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, name := range []string{a, b} {
			if l, err := netlink.LinkByName(name); err == nil {
				_ = netlink.LinkDel(l)
			}
		}
	})
	l, err := netlink.LinkByName(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"198.51.100.7/24", "2001:db8::7/64", "169.254.3.4/16"} {
		parsed, err := netlink.ParseAddr(address)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(address, "169") {
			parsed.Scope = int(netlink.SCOPE_LINK)
		}
		if err := netlink.AddrAdd(l, parsed); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// A device is in the container with another name, its addresses that are good everywhere, and on; the host has it no more.
func TestNetDevices(t *testing.T) {
	a, b := pair(t)
	s := ocitest.Spec(t, "sh", "-c", "ip -o addr show dev wire0; ip -o link show dev wire0; ip -o link show dev "+b)
	s.Linux.NetDevices = map[string]specs.LinuxNetDevice{a: {Name: "wire%d"}, b: {}}
	r := run(t, s)
	for _, want := range []string{"198.51.100.7/24", "2001:db8::7/64", "mtu 1400", ",UP", b + "@"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out, "169.254.3.4") {
		t.Errorf("an address of the link alone was moved:\n%s", r.out)
	}
	if there, err := kernel.HasLink(a); there || err != nil {
		t.Errorf("%s is still on the host: %v", a, err)
	}
}

// Nothing is moved where a device is missing or its place is taken.
func TestNetDevicesThatCannot(t *testing.T) {
	a, _ := pair(t)
	for text, devices := range map[string]map[string]specs.LinuxNetDevice{
		"the container has a device lo already":   {a: {Name: "lo"}},
		"find network device nt-missing: no such": {a: {}, "nt-missing": {}},
	} {
		s := ocitest.Spec(t, "true")
		s.Linux.NetDevices = devices
		_, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, s), Stdio: [3]int{-1, -1, -1}})
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
		if there, err := kernel.HasLink(a); !there || err != nil {
			t.Errorf("%s: %s is gone: %v", text, a, err)
		}
	}
	for name, devices := range map[string]map[string]specs.LinuxNetDevice{
		"two of one name": {"a": {Name: "x"}, "b": {Name: "x"}}, "malformed": {"a/b": {}}, "too long": {"a": {Name: "sixteen-bytes-xx"}},
	} {
		s := ocitest.Spec(t, "true")
		s.Linux.NetDevices = devices
		if err := oci.Validate(s); !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
