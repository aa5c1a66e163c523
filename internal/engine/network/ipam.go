package network

import (
	"fmt"
	"math"
	"math/big"
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
	gateway netip.Addr            // invalid where the network has none on this subnet
	low     netip.Addr            // first and last address that may be asked for
	high    netip.Addr
}

// reserved owns the addresses that nobody may lease.
const reserved = "the network itself"

func newPool(prefix netip.Prefix, plan Plan) (*pool, error) {
	prefix = prefix.Masked()
	host := prefix.Addr().BitLen() - prefix.Bits()
	if !prefix.IsValid() || host < 2 {
		return nil, fmt.Errorf("make address pool of %s: need at least four addresses", prefix)
	}
	p := &pool{prefix: prefix, used: map[netip.Addr]string{}, gateway: plan.Gateway, low: prefix.Addr(), high: lastOf(prefix)}
	p.low = p.low.Next()
	if prefix.Addr().Is4() {
		p.high = p.high.Prev() // broadcast
	}
	p.first, p.last = p.low, p.high
	if r := plan.Range.Masked(); r.IsValid() {
		if !prefix.Contains(r.Addr()) || r.Bits() < prefix.Bits() {
			return nil, fmt.Errorf("make address pool of %s: range %s is not within", prefix, plan.Range)
		}
		p.first, p.last = maxAddr(p.first, r.Addr()), minAddr(p.last, lastOf(r))
	}
	for _, a := range append([]netip.Addr{plan.Gateway}, plan.Reserved...) {
		if a.IsValid() {
			p.used[a] = reserved
		}
	}
	for p.used[p.first] == reserved && !p.last.Less(p.first) {
		p.first = p.first.Next()
	}
	p.next = p.first
	return p, nil
}

func minAddr(a, b netip.Addr) netip.Addr {
	if b.Less(a) {
		return b
	}
	return a
}

func maxAddr(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
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
	if p.last.Less(p.first) {
		return netip.Addr{}, fmt.Errorf("lease address of %s: %w", p.prefix, ErrNoAddress)
	}
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
	if !p.prefix.Contains(a) {
		return fmt.Errorf("lease address %s: outside %s", a, p.prefix)
	}
	if a.Less(p.low) || p.high.Less(a) {
		return fmt.Errorf("lease address %s of %s: %w by %s", a, p.prefix, ErrAddressTaken, reserved)
	}
	if other, taken := p.used[a]; taken && other != owner {
		return fmt.Errorf("lease address %s: %w: held by %s", a, ErrAddressTaken, other)
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

// use counts the pool's addresses: what is held, with the subnet's own first and last, and what can still be leased.
func (p *pool) use() SubnetUse {
	held, inside := uint64(len(p.used)), uint64(0)
	for a := range p.used {
		if !a.Less(p.first) && !p.last.Less(a) {
			inside++
		}
	}
	if p.prefix.Addr().Is4() {
		held++ // broadcast
	}
	return SubnetUse{Subnet: p.prefix, Used: held + 1, Free: span(p.first, p.last) - inside}
}

// span counts the addresses from a to b.
func span(a, b netip.Addr) uint64 {
	if b.Less(a) {
		return 0
	}
	x, y := new(big.Int).SetBytes(a.AsSlice()), new(big.Int).SetBytes(b.AsSlice())
	n := y.Sub(y, x).Add(y, big.NewInt(1))
	if !n.IsUint64() {
		return math.MaxUint64
	}
	return n.Uint64()
}
