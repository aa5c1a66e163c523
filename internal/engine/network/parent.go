package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Modes of macvlan, and modes and flags of ipvlan, by the kernel's numbers. Source: linux/if_link.h.
var (
	macvlanModes = map[string]uint32{"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
	ipvlanModes  = map[string]uint16{"l2": 0, "l3": 1, "l3s": 2}
	ipvlanFlags  = map[string]uint16{"bridge": 0, "private": 1, "vepa": 2}
)

// CheckMode reports whether a driver knows a mode and a flag; empty ones stand for the first.
func CheckMode(d Driver, mode, flag string) error {
	if d == Macvlan {
		if _, ok := macvlanModes[mode]; !ok || flag != "" {
			return fmt.Errorf("requested macvlan mode '%s' is not valid, 'bridge' mode is the macvlan driver default", mode)
		}
		return nil
	}
	if _, ok := ipvlanModes[mode]; !ok {
		return fmt.Errorf("requested ipvlan mode '%s' is not valid, 'l2' mode is the ipvlan driver default", mode)
	}
	if _, ok := ipvlanFlags[flag]; !ok {
		return fmt.Errorf("requested ipvlan flag '%s' is not valid, 'bridge' is the ipvlan driver default", flag)
	}
	return nil
}

// can asks the kernel whether it makes links of a kind, with a request that it refuses either way.
func (r *rtnl) can(kind string) error {
	req, _, info := newLink(kind, linkAttrs{name: "nau-probe"})
	req.AddData(info)
	err := r.do(request{what: "probe links of kind " + kind, msg: req})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %s (load its module: modprobe %s)", ErrDriver, kind, kind)
	}
	return nil
}

// Kinds are the drivers beside Bridge that this kernel has.
func (m *Manager) Kinds() (out []Driver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, kind := range []Driver{Ipvlan, Macvlan} {
		if m.nl.can(string(kind)) == nil {
			out = append(out, kind)
		}
	}
	return out
}

// prepareParent checks the parent of a new network and says whether it is to be made. The caller holds mu.
func (m *Manager) prepareParent(s *Spec) error {
	if err := m.nl.can(string(s.Driver)); err != nil {
		return err
	}
	if s.Parent == "" {
		s.Parent, s.Made, s.Internal = s.Link, true, true
		return nil
	}
	for _, n := range m.nets {
		if n.spec.Driver == s.Driver && n.spec.Parent == s.Parent && n.spec.Name != s.Name {
			return fmt.Errorf("%w: network %s is already using parent interface %s", ErrExists, n.spec.ID, s.Parent)
		}
	}
	if _, _, err := m.nl.link(s.Parent); err == nil {
		return nil
	}
	base, id, err := vlanOf(s.Parent)
	if err != nil {
		return err
	}
	if _, _, err := m.nl.link(base); err != nil {
		return fmt.Errorf("the requested parent interface %s was not found on the host", base)
	}
	_ = id
	s.Made = true
	return m.nl.can("vlan")
}

// vlanOf splits "eth0.50" into the link and the VLAN's number.
func vlanOf(name string) (string, uint16, error) {
	base, number, ok := strings.Cut(name, ".")
	id, err := strconv.ParseUint(number, 10, 16)
	if !ok || base == "" || err != nil {
		return "", 0, fmt.Errorf("invalid subinterface vlan name %s, example formatting is eth0.10", name)
	}
	if id < 1 || id > 4094 {
		return "", 0, fmt.Errorf("vlan id must be between 1-4094, received: %d", id)
	}
	return base, uint16(id), nil
}

// raiseParent makes the parent where it is to be made, and finds its index.
func (m *Manager) raiseParent(n *network) error {
	if n.spec.Made {
		var reqs []request
		if n.spec.Parent == n.spec.Link {
			// A bridge without ports: what leaves it comes nowhere, and every kernel that has bridges has it.
			reqs = append(reqs, newBridge(linkAttrs{name: n.spec.Parent, mtu: n.spec.MTU}))
		} else {
			base, id, err := vlanOf(n.spec.Parent)
			if err != nil {
				return err
			}
			index, _, err := m.nl.link(base)
			if err != nil {
				return err
			}
			reqs = append(reqs, newVlan(n.spec.Parent, index, id))
		}
		if err := m.nl.do(append(reqs, quietUp(n.spec.Parent, m.v6)...)...); err != nil {
			return fmt.Errorf("make network %s: %w", n.spec.Name, err)
		}
	}
	index, _, err := m.nl.link(n.spec.Parent)
	if err != nil {
		m.cfg.Log.Warn("the parent of a network is gone", "network", n.spec.Name, "link", n.spec.Parent, "error", err)
		return nil // other networks must come up
	}
	n.index = index
	return nil
}

func u16(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }

// newVlan makes the sub-interface of a link that carries one VLAN.
func newVlan(name string, parent int, id uint16) request {
	req, _, info := newLink("vlan", linkAttrs{name: name})
	req.AddData(nl.NewRtAttr(unix.IFLA_LINK, u32(uint32(parent))))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(1, u16(id)) // IFLA_VLAN_ID
	req.AddData(info)
	return request{what: "create vlan " + name, msg: req, ok: []unix.Errno{unix.EEXIST}}
}

// newChild makes an endpoint's link on a parent, in the namespace of netnsFd at once.
func newChild(s Spec, a linkAttrs, parent, netnsFd int) request {
	if s.Driver == Ipvlan {
		a.mac = nil
	}
	req, _, info := newLink(string(s.Driver), a)
	req.AddData(nl.NewRtAttr(unix.IFLA_LINK, u32(uint32(parent))))
	req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, u32(uint32(netnsFd))))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	if s.Driver == Macvlan {
		data.AddRtAttr(1, u32(macvlanModes[s.Mode])) // IFLA_MACVLAN_MODE
	} else {
		data.AddRtAttr(1, u16(ipvlanModes[s.Mode])) // IFLA_IPVLAN_MODE
		data.AddRtAttr(2, u16(ipvlanFlags[s.Flag])) // IFLA_IPVLAN_FLAGS
	}
	req.AddData(info)
	return request{what: "create " + string(s.Driver) + " on " + s.Parent, msg: req}
}
