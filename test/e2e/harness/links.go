package harness

import (
	"time"

	"github.com/vishvananda/netlink"
)

// WaitNoVeth waits until no veth link is in the machine's network: the kernel takes the links of a namespace down in its own time after the
// namespace's end, and tells of each.
func (m *Machine) WaitNoVeth() {
	m.t.Helper()
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(done)
	var handle *netlink.Handle
	if err := m.inside(func() error {
		if err := netlink.LinkSubscribe(updates, done); err != nil {
			return err
		}
		h, err := netlink.NewHandle()
		handle = h
		return err
	}); err != nil {
		m.t.Fatalf("watch links: %v", err)
	}
	defer handle.Close()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		links, err := handle.LinkList()
		if err != nil {
			m.t.Fatalf("list links: %v", err)
		}
		left := ""
		for _, l := range links {
			if l.Type() == "veth" {
				left = l.Attrs().Name
			}
		}
		if left == "" {
			return
		}
		select {
		case _, ok := <-updates:
			if !ok {
				m.t.Fatal("watch links: the kernel ended it")
			}
		case <-deadline.C:
			m.t.Fatalf("link %s is there still after %v", left, patience)
		}
	}
}
