// Package ipalloc picks free addresses from a range and free ports from a range.
//
// It only picks: who holds what is asked of the caller, and a pick is a proposal until the caller has booked it. It does no
// I/O and keeps no state but its place in the random sequence. Only apiserver imports it.
package ipalloc

import (
	"errors"
	"math/rand/v2"
	"net/netip"
)

// ErrFull says that the range has no free place.
var ErrFull = errors.New("range is full")

// static is how much of the beginning of a range is left to those who choose for themselves, as KEP-3070 has it: at least
// 16, at most 256, a sixteenth of the range in between; nothing of ranges too small for that.
func static(size uint64) uint64 {
	if size <= 16 {
		return 0
	}
	return min(max(size/16, 16), 256)
}

// Addresses is a range of addresses.
type Addresses struct {
	Prefix netip.Prefix
	size   uint64 // usable ones: without the network and, for IPv4, the broadcast address
}

// NewAddresses of a range; IPv6 ranges longer than 2^20 addresses are used up to there.
func NewAddresses(p netip.Prefix) *Addresses {
	p = p.Masked()
	bits := p.Addr().BitLen() - p.Bits()
	size := uint64(1) << min(bits, 20)
	if bits <= 20 || p.Addr().Is4() {
		size = uint64(1) << min(bits, 32)
	}
	switch {
	case p.Addr().Is4() && size > 2:
		size -= 2
	case size > 1:
		size--
	}
	return &Addresses{p, size}
}

// Contains tells whether an address may be asked for.
func (a *Addresses) Contains(ip netip.Addr) bool {
	return a.Prefix.Contains(ip) && ip != a.Prefix.Addr() && (!ip.Is4() || a.Prefix.Bits() >= 31 || ip != last4(a.Prefix))
}

func last4(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	host := uint32(1)<<(32-p.Bits()) - 1
	b[0] |= byte(host >> 24)
	b[1] |= byte(host >> 16)
	b[2] |= byte(host >> 8)
	b[3] |= byte(host)
	return netip.AddrFrom4(b)
}

// Pick proposes a free address: from the upper part at random, then from the part left to choosers.
func (a *Addresses) Pick(taken func(netip.Addr) bool) (netip.Addr, error) {
	low := static(a.size)
	for _, part := range [][2]uint64{{low, a.size}, {0, low}} {
		if ip, ok := pick(part[0], part[1], func(i uint64) bool { return taken(a.at(i)) }); ok {
			return a.at(ip), nil
		}
	}
	return netip.Addr{}, ErrFull
}

// at is the i-th usable address.
func (a *Addresses) at(i uint64) netip.Addr {
	b := a.Prefix.Addr().As16()
	carry := i + 1
	for j := 15; j >= 0 && carry > 0; j-- {
		carry += uint64(b[j])
		b[j] = byte(carry)
		carry >>= 8
	}
	ip := netip.AddrFrom16(b)
	if a.Prefix.Addr().Is4() {
		return ip.Unmap()
	}
	return ip
}

// pick tries a few places at random, then all of them from a random one on.
func pick(from, to uint64, taken func(uint64) bool) (uint64, bool) {
	if to <= from {
		return 0, false
	}
	n := to - from
	for range 16 {
		if i := from + rand.Uint64N(n); !taken(i) {
			return i, true
		}
	}
	start := rand.Uint64N(n)
	for k := range n {
		if i := from + (start+k)%n; !taken(i) {
			return i, true
		}
	}
	return 0, false
}

// Ports is a range of ports, both ends in it.
type Ports struct{ First, Last uint16 }

// Contains tells whether a port may be asked for.
func (p Ports) Contains(port int32) bool { return port >= int32(p.First) && port <= int32(p.Last) }

// Pick proposes a free port.
func (p Ports) Pick(taken func(int32) bool) (int32, error) {
	size := uint64(p.Last) - uint64(p.First) + 1
	var low uint64
	if size > 32 { // KEP-3668: a part of the range is left to those who choose
		low = min(max(16, size/32), 128)
	}
	for _, part := range [][2]uint64{{low, size}, {0, low}} {
		if i, ok := pick(part[0], part[1], func(i uint64) bool { return taken(int32(uint64(p.First) + i)) }); ok {
			return int32(uint64(p.First) + i), nil
		}
	}
	return 0, ErrFull
}
