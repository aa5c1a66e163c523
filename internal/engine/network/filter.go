package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// filter is the table of packet rules, family inet, named after the instance:
//
//	prerouting, output (nat)   to one of the host's addresses → hostports
//	hostports                  ports4a, ports4, ports6a, ports6: published port → address and port of the endpoint
//	postrouting (nat)          masquerade: from loopback or to itself through a published port; from masq4/6 to outside nomasq4/6
//	guard (prerouting)         nothing from a bridge may reach 127.0.0.0/8, which route_localnet would otherwise allow
//	forward, local (filter)    what still wants a service address after translation is refused; no ICMP redirects into bridges;
//	                           and what the networks that are apart want: see forward.go
//
// Rules are written once, when the table is made. All that changes later are elements of sets and maps, each change one transaction; nothing
// is read back.
type filter struct {
	mu        sync.Mutex
	published map[endpointKey]Endpoint // those with ports: what the elements of the maps are made of, and made of again when the table is
	conn      *nftables.Conn
	table     *nftables.Table
	v6        bool

	bridges                     *nftables.Set
	masq, nomasq, service, self [2]*nftables.Set // index 0 IPv4, 1 IPv6
	portsAny, portsAddr         [2]*nftables.Set

	same, apart, mute             *nftables.Set    // of bridges: (a, a) for each; those apart; those whose endpoints may not meet
	internal, shut, routed, opens [2]*nftables.Set // bridges by Reach; opens are the published ports of routed ones
}

// endpointKey tells endpoints apart.
type endpointKey struct{ sandbox, network, link string }

func keyOf(e Endpoint) endpointKey { return endpointKey{e.Sandbox, e.Network, e.Link} }

// world is what the filter holds, apart from published ports.
type world struct {
	bridges               []string
	masq, nomasq, service []netip.Prefix

	apart, mute            []string
	internal, shut, routed [2][]string
	kept                   map[string][2]bool // networks, by name, whose endpoints are reached untranslated
}

// Registers: a concatenated key lies in consecutive 32-bit registers.
const reg32 = 8 // NFT_REG32_00

func openFilter(name string, v6 bool) (*filter, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &filter{published: map[endpointKey]Endpoint{}, conn: conn, table: &nftables.Table{Name: name, Family: nftables.TableFamilyINet}, v6: v6}, nil
}

func (f *filter) close() { _ = f.conn.CloseLasting() }

// know takes endpoints whose ports a former table held.
func (f *filter) know(eps []Endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range eps {
		if len(e.Ports) > 0 {
			f.published[keyOf(e)] = e
		}
	}
}

// rebuild replaces the whole table in one transaction: connections of running sandboxes do not notice.
func (f *filter) rebuild(w world) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.conn
	c.AddTable(f.table) // so that the deletion cannot fail
	c.DelTable(f.table)
	c.AddTable(f.table)

	var err error
	set := func(s *nftables.Set, elems []nftables.SetElement) *nftables.Set {
		s.Table = f.table
		if s.KeyType.Name == nftables.TypeIFName.Name {
			s.KeyByteOrder = binaryutil.NativeEndian // so that nft(8) shows the names
		}
		if e := c.AddSet(s, elems); e != nil && err == nil {
			err = e
		}
		return s
	}
	ipType := [2]nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeIP6Addr}
	f.bridges = set(&nftables.Set{Name: "bridges", KeyType: nftables.TypeIFName}, linkElements(w.bridges))
	f.apart = set(&nftables.Set{Name: "apart", KeyType: nftables.TypeIFName}, linkElements(w.apart))
	f.mute = set(&nftables.Set{Name: "mute", KeyType: nftables.TypeIFName}, linkElements(w.mute))
	f.same = set(&nftables.Set{Name: "same", Concatenation: true, KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName)}, pairElements(w.apart))
	for i, fam := range []string{"4", "6"} {
		for _, s := range []struct {
			at    *[2]*nftables.Set
			name  string
			links [2][]string
		}{{&f.internal, "internal", w.internal}, {&f.shut, "shut", w.shut}, {&f.routed, "routed", w.routed}} {
			s.at[i] = set(&nftables.Set{Name: s.name + fam, KeyType: nftables.TypeIFName}, linkElements(s.links[i]))
		}
		f.opens[i] = set(&nftables.Set{Name: "opens" + fam, Concatenation: true,
			KeyType: nftables.MustConcatSetType(ipType[i], nftables.TypeInetProto, nftables.TypeInetService)}, nil)
		interval := func(name string, of []netip.Prefix) *nftables.Set {
			return set(&nftables.Set{Name: name + fam, KeyType: ipType[i], Interval: true}, intervals(of, i == 1))
		}
		f.masq[i] = interval("masq", w.masq)
		f.nomasq[i] = interval("nomasq", w.nomasq)
		f.service[i] = interval("service", w.service)
		target := nftables.MustConcatSetType(ipType[i], nftables.TypeInetService)
		f.portsAny[i] = set(&nftables.Set{Name: "ports" + fam, IsMap: true, Concatenation: true,
			KeyType: nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService), DataType: target}, nil)
		f.portsAddr[i] = set(&nftables.Set{Name: "ports" + fam + "a", IsMap: true, Concatenation: true,
			KeyType: nftables.MustConcatSetType(ipType[i], nftables.TypeInetProto, nftables.TypeInetService), DataType: target}, nil)
		f.self[i] = set(&nftables.Set{Name: "self" + fam, Concatenation: true,
			KeyType: nftables.MustConcatSetType(ipType[i], ipType[i])}, nil)
	}
	if err != nil {
		return fmt.Errorf("write nftables sets: %w", err)
	}

	prio := func(p nftables.ChainPriority) *nftables.ChainPriority { return &p }
	chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, p *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: f.table, Type: kind, Hooknum: hook, Priority: p})
	}
	hostports := c.AddChain(&nftables.Chain{Name: "hostports", Table: f.table})
	guard := chain("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, prio(-150))
	pre := chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	out := chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	post := chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	forward := chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	local := chain("local", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	rule := func(ch *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: f.table, Chain: ch, Exprs: all})
	}

	rule(guard, from(f.bridges), nfproto(0), addrIn127("dst"), verdict(expr.VerdictDrop))
	toHost := []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		&expr.Verdict{Kind: expr.VerdictJump, Chain: "hostports"},
	}
	rule(pre, toHost)
	rule(out, toHost)
	// A service address may be the host's own: the DNS listens on its address.
	rule(local, append(slices.Clone(toHost[:2]), &expr.Verdict{Kind: expr.VerdictReturn}))
	for i := range 2 {
		size := uint32(4 + 12*i)
		n := reg32 + size/4
		dst := []expr.Any{load(i, "dst", reg32)}
		port := func(at uint32) []expr.Any {
			return []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: at},
				&expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: at + 1},
			}
		}
		dnat := func(m *nftables.Set) []expr.Any {
			return []expr.Any{
				&expr.Lookup{SourceRegister: reg32, DestRegister: reg32, IsDestRegSet: true, SetName: m.Name, SetID: m.ID},
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(afOf(i)), RegAddrMin: reg32, RegProtoMin: n, Specified: true},
			}
		}
		// A port that is published on all addresses of the host is not one of the service addresses that the host has.
		rule(hostports, nfproto(i), dst, within(f.service[i], reg32, false), verdict(expr.VerdictReturn))
		if i == 1 { // a relay's: no translation brings an answer back to there
			rule(hostports, nfproto(i), dst, []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: reg32, Data: loopback6.AsSlice()}}, verdict(expr.VerdictReturn))
		}
		rule(hostports, nfproto(i), dst, port(n), dnat(f.portsAddr[i]))
		rule(hostports, nfproto(i), port(reg32), dnat(f.portsAny[i]))

		masquerade := []expr.Any{&expr.Masq{}}
		rule(post, nfproto(i), []expr.Any{load(i, "src", reg32), load(i, "dst", n)}, within(f.self[i], reg32, false), translated(), masquerade)
		// Neighbours would answer each other past this host, in their own name.
		rule(post, nfproto(i), links(), within(f.same, reg32, false), translated(), masquerade)
		if i == 0 {
			rule(post, nfproto(0), addrIn127("src"), to(f.bridges), translated(), masquerade)
		}
		rule(post, nfproto(i), []expr.Any{load(i, "src", reg32)}, within(f.masq[i], reg32, false),
			[]expr.Any{load(i, "dst", reg32)}, within(f.nomasq[i], reg32, true), masquerade)

		// A reset, since the kernel sends ICMP errors to one peer no more than once a second.
		tcp := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
		}
		other := []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
		for _, ch := range []*nftables.Chain{forward, local} {
			rule(ch, nfproto(i), dst, within(f.service[i], reg32, false), tcp)
			rule(ch, nfproto(i), dst, within(f.service[i], reg32, false), other)
		}
	}
	f.separate(func(parts ...[]expr.Any) { rule(forward, parts...) })
	for i, redirect := range []byte{5, 137} {
		proto := []byte{unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6}[i]
		rule(local, to(f.bridges), []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
			&expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1, DestRegister: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{redirect}},
		}, verdict(expr.VerdictDrop))
	}
	for _, e := range f.published {
		if err := f.elements(e, w.kept[e.Network], c.SetAddElements); err != nil {
			return err
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", f.table.Name, err)
	}
	return nil
}

// publish adds an endpoint's ports, withdraw takes them away; each is one transaction.
func (f *filter) publish(e Endpoint, kept [2]bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.change("publish", e, kept, f.conn.SetAddElements)
	if err == nil && len(e.Ports) > 0 {
		e.Ports = slices.Clone(e.Ports)
		f.published[keyOf(e)] = e
	}
	return err
}

func (f *filter) withdraw(e Endpoint, kept [2]bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.published, keyOf(e)) // whatever becomes of the elements: its ports are free to be another's
	return f.change("withdraw", e, kept, f.conn.SetDeleteElements)
}

// change is the transaction. The caller holds mu.
func (f *filter) change(verb string, e Endpoint, kept [2]bool, apply func(*nftables.Set, []nftables.SetElement) error) error {
	if len(e.Ports) == 0 {
		return nil
	}
	if err := f.elements(e, kept, apply); err != nil {
		return err
	}
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("%s ports of %s: %w", verb, e.Sandbox, err)
	}
	return nil
}

// elements hands apply the elements of all maps that an endpoint's ports mean; kept says of which family's they are reached untranslated.
func (f *filter) elements(e Endpoint, kept [2]bool, apply func(*nftables.Set, []nftables.SetElement) error) error {
	if len(e.Ports) == 0 {
		return nil
	}
	for _, prefix := range e.Addrs {
		addr, i := prefix.Addr(), 0
		if addr.Is6() {
			i = 1
		}
		var anywhere, at, open []nftables.SetElement
		for _, p := range e.Ports {
			if kept[i] {
				elem := nftables.SetElement{Key: append(append(addr.AsSlice(), pad(byte(p.Protocol))...), port4(p.Container)...)}
				if !slices.ContainsFunc(open, func(o nftables.SetElement) bool { return string(o.Key) == string(elem.Key) }) {
					open = append(open, elem)
				}
				continue
			}
			elem := nftables.SetElement{
				Key: append(pad(byte(p.Protocol)), port4(p.Host)...),
				Val: append(addr.AsSlice(), port4(p.Container)...),
			}
			switch {
			case !p.HostIP.IsValid() || p.HostIP.IsUnspecified() && p.HostIP.Is4() == addr.Is4():
				anywhere = append(anywhere, elem)
			case p.HostIP.Is4() == addr.Is4() && !p.HostIP.IsUnspecified():
				elem.Key = append(p.HostIP.AsSlice(), elem.Key...)
				at = append(at, elem)
			}
		}
		for _, part := range []struct {
			set   *nftables.Set
			elems []nftables.SetElement
		}{{f.portsAny[i], anywhere}, {f.portsAddr[i], at}, {f.opens[i], open}, {f.self[i], []nftables.SetElement{{Key: append(addr.AsSlice(), addr.AsSlice()...)}}}} {
			if len(part.elems) == 0 {
				continue
			}
			if err := apply(part.set, part.elems); err != nil {
				return fmt.Errorf("change nftables set %s: %w", part.set.Name, err)
			}
		}
	}
	return nil
}

// purge removes the table.
func (f *filter) purge() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn.AddTable(f.table)
	f.conn.DelTable(f.table)
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("delete nftables table %s: %w", f.table.Name, err)
	}
	return nil
}

func afOf(i int) int {
	if i == 0 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func pad(b byte) []byte { return []byte{b, 0, 0, 0} }

func port4(p uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, p), 0, 0) }

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }

func nfproto(i int) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(afOf(i))}},
	}
}

// load puts an IP header's source or destination address at a register.
func load(i int, which string, reg uint32) expr.Any {
	p := &expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4, DestRegister: reg}
	if i == 1 {
		p.Offset, p.Len = 8, 16
	}
	if which == "dst" {
		p.Offset += p.Len
	}
	return p
}

func within(s *nftables.Set, reg uint32, invert bool) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: reg, SetName: s.Name, SetID: s.ID, Invert: invert}}
}

func from(s *nftables.Set) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}}, within(s, 1, false)...)
}

func to(s *nftables.Set) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}}, within(s, 1, false)...)
}

func addrIn127(which string) []expr.Any {
	return []expr.Any{
		load(0, which, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127, 0, 0, 0}},
	}
}

func linkElements(names []string) []nftables.SetElement {
	var out []nftables.SetElement
	for _, n := range names {
		key := make([]byte, unix.IFNAMSIZ)
		copy(key, n)
		out = append(out, nftables.SetElement{Key: key})
	}
	return out
}

// intervals makes an interval set's elements of the prefixes of one family. Prefixes inside others are left out: the kernel
// refuses overlaps.
func intervals(prefixes []netip.Prefix, v6 bool) []nftables.SetElement {
	var out []nftables.SetElement
next:
	for i, p := range prefixes {
		p = p.Masked()
		if p.Addr().Is6() != v6 {
			continue
		}
		for j, q := range prefixes {
			q = q.Masked()
			if i != j && q.Bits() <= p.Bits() && q.Contains(p.Addr()) && (q != p || j < i) {
				continue next
			}
		}
		out = append(out, nftables.SetElement{Key: p.Addr().AsSlice()})
		if end := lastOf(p).Next(); end.IsValid() {
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}
