package harness

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Neighbour is another host on the machine's own link: what comes from it comes from outside.
type Neighbour struct {
	t     testing.TB
	netns *os.File
}

// dialPatience is how long a connection may take: a packet that is dropped is answered by nothing.
const dialPatience = 300 * time.Millisecond

// neighbourIP is the neighbour's address.
const neighbourIP = "192.0.2.20"

// Neighbour adds the other host; it goes with the test. It sends what is meant for the prefixes to the machine, whatever they are: its own
// loopback is down, so that even 127.0.0.0/8 leaves it.
func (m *Machine) Neighbour(prefixes ...string) *Neighbour {
	m.t.Helper()
	n := &Neighbour{t: m.t}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		made <- func() (err error) {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			n.netns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
			return err
		}()
	}()
	if err := <-made; err != nil {
		m.t.Fatal(err)
	}
	if err := m.inside(func() error {
		bridge, err := netlink.LinkByName("uplink")
		if err != nil {
			return err
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "next-door", MasterIndex: bridge.Attrs().Index}, PeerName: "out", PeerNamespace: netlink.NsFd(n.netns.Fd())}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add link to neighbour: %w", err)
		}
		return netlink.LinkSetUp(veth)
	}); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = m.inside(func() error { return deleteLink("next-door") })
		n.netns.Close()
	})
	if err := n.inside(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0); err != nil {
			return err
		}
		link, err := netlink.LinkByName("out")
		if err != nil {
			return err
		}
		addr, _ := netlink.ParseAddr(neighbourIP + "/24")
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		for _, p := range prefixes {
			_, dst, err := net.ParseCIDR(p)
			if err != nil {
				return err
			}
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Gw: net.ParseIP(NodeIP)}); err != nil {
				return fmt.Errorf("route %s: %w", p, err)
			}
		}
		return nil
	}); err != nil {
		m.t.Fatal(err)
	}
	return n
}

func (n *Neighbour) inside(f func() error) error { return (&Machine{netns: n.netns}).inside(f) }

// Dial connects from the neighbour.
func (n *Neighbour) Dial(network, address string) (conn net.Conn, err error) {
	err = n.inside(func() error {
		d := net.Dialer{Timeout: dialPatience}
		conn, err = d.Dial(network, address)
		return err
	})
	return conn, err
}
