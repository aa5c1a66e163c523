package network

import (
	"fmt"
	"net/netip"
)

// pool leases addresses of one prefix. It goes round: an address that was freed comes back only after all others had their turn, so that
// neither a neighbour's cache nor a client's connection meets a stranger at it. Not safe for concurrent use.
type pool struct {
	prefix  netip.Prefix
	first   netip.Addr // first and last address to lease
	last    netip.Addr
	next    netip.Addr
	used    map[netip.Addr]string // address → owner
	gateway netip.Addr
}

func newPool(prefix netip.Prefix) (*pool, error) {
	prefix = prefix.Masked()
	host := prefix.Addr().BitLen() - prefix.Bits()
	if !prefix.IsValid() || host < 2 {
		return nil, fmt.Errorf("make address pool of %s: need at least four addresses", prefix)
	}
	p := &pool{prefix: prefix, used: map[netip.Addr]string{}}
	p.gateway = prefix.Addr().Next()
	p.first = p.gateway.Next()
	p.last = lastOf(prefix)
	if prefix.Addr().Is4() {
		p.last = p.last.Prev() // broadcast
	}
	p.next = p.first
	return p, nil
}

// lastOf returns the highest address of a prefix.
func lastOf(prefix netip.Prefix) netip.Addr {
	b := prefix.Masked().Addr().AsSlice()
	for i := range b {
		switch bits := prefix.Bits() - i*8; {
		case bits <= 0:
			b[i] = 0xff
		case bits < 8:
			b[i] |= 0xff >> bits
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// lease gives owner the next free address.
func (p *pool) lease(owner string) (netip.Addr, error) {
	start := p.next
	for a := start; ; {
		after := a.Next()
		if !after.IsValid() || p.last.Less(after) {
			after = p.first
		}
		if _, taken := p.used[a]; !taken {
			p.used[a], p.next = owner, after
			return a, nil
		}
		if a = after; a == start {
			return netip.Addr{}, fmt.Errorf("lease address of %s: %w", p.prefix, ErrNoAddress)
		}
	}
}

// take leases one particular address.
func (p *pool) take(a netip.Addr, owner string) error {
	if !p.prefix.Contains(a) || a.Less(p.first) || p.last.Less(a) {
		return fmt.Errorf("lease address %s: outside %s", a, p.prefix)
	}
	if other, taken := p.used[a]; taken && other != owner {
		return fmt.Errorf("lease address %s: held by %s", a, other)
	}
	p.used[a] = owner
	return nil
}

// free gives an address back. Freeing what owner does not hold does nothing.
func (p *pool) free(a netip.Addr, owner string) {
	if p.used[a] == owner {
		delete(p.used, a)
	}
}

// seek continues the round at a.
func (p *pool) seek(a netip.Addr) {
	if p.prefix.Contains(a) && !a.Less(p.first) && !p.last.Less(a) {
		p.next = a
	}
}

// ahead returns the address n places further in the round, for a persisted cursor that is never behind.
func (p *pool) ahead(n int) netip.Addr {
	a := p.next
	for range n {
		if a = a.Next(); !a.IsValid() || p.last.Less(a) {
			a = p.first
		}
	}
	return a
}
