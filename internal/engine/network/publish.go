package network

import (
	"fmt"
	"net/netip"
	"slices"
)

// Publish adds ports to an endpoint, all or none.
func (m *Manager) Publish(e *Endpoint, ports []Port) error {
	if len(ports) == 0 {
		return nil
	}
	m.mu.Lock()
	for i, p := range ports {
		owner, taken := m.portOwner(p)
		err := fmt.Errorf("publish port %s of %s: %w by %s", p, e.Sandbox, ErrPortTaken, owner)
		if !taken {
			if err = m.hold(p); err == nil {
				m.ports[portKey(p)] = e.Sandbox
				if err = m.relay(p, e); err != nil {
					m.letGo(p, e.Sandbox)
				}
			}
		}
		if err != nil {
			for _, q := range ports[:i] {
				m.letGo(q, e.Sandbox)
			}
			m.mu.Unlock()
			return err
		}
	}
	m.mu.Unlock()
	had := e.Ports
	e.Ports = append(slices.Clone(had), ports...)
	if err := m.nft.publish(*e, m.kept(e.Network)); err != nil {
		e.Ports = had
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, p := range ports {
			m.letGo(p, e.Sandbox)
		}
		return err
	}
	return nil
}

// portOwner finds who has a port, on the same address or on all of them. The caller holds mu.
func (m *Manager) portOwner(p Port) (string, bool) {
	for q, owner := range m.ports {
		if q.Protocol == p.Protocol && q.Host == p.Host && overlap(q.HostIP, p.HostIP) {
			return owner, true
		}
	}
	return "", false
}

// Free reports whether a port could be published now.
func (m *Manager) Free(p Port) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.portOwner(p); taken {
		return false
	}
	h, err := m.bind(p)
	h.close()
	return err == nil
}

// overlap reports whether two published addresses have one in common; the invalid one is all of both families.
func overlap(a, b netip.Addr) bool {
	switch {
	case !a.IsValid() || !b.IsValid() || a == b:
		return true
	case a.Is4() != b.Is4():
		return false
	}
	return a.IsUnspecified() || b.IsUnspecified()
}

func portKey(p Port) Port {
	p.Container = 0
	return p
}

// Withdraw takes an endpoint's ports away.
func (m *Manager) Withdraw(e *Endpoint) error {
	if err := m.nft.withdraw(*e, m.kept(e.Network)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range e.Ports {
		m.letGo(p, e.Sandbox)
	}
	e.Ports = nil
	return nil
}
