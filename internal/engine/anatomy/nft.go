package anatomy

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// table is an nftables table as read from the kernel.
type table struct {
	family, name string
	sets         []set
	chains       []PacketChain
	rules        []rule
}

// set is a set, a map, or a verdict map.
type set struct {
	name     string
	key, val []string // nft's names of the types, in the order of a concatenation; nil = not known
	interval bool
	verdicts bool     // a verdict map
	flags    []string // beside interval
	timeout  string   // of its elements
	elements []element
}

type element struct {
	key, val []byte
	end      bool   // of an interval set: the end of the interval before
	chain    string // of a verdict map
	verdict  string // "goto chain"
}

type rule struct {
	chain, hook string
	exprs       []expr.Any
}

// relevant finds the elements that hold one of the addresses or links, the rules that look such an element up, and, from there backwards, the
// rules and verdict maps that lead to those rules' chains. It is a question about reachability, not a simulation of a packet: what else a rule
// asks for does not matter.
func relevant(tables []table, addrs []netip.Addr, links []string) []Table {
	var out []Table
	for i := range tables {
		if t := tables[i].relevant(addrs, links); len(t.Elements)+len(t.Rules) > 0 {
			out = append(out, t)
		}
	}
	return out
}

func (t *table) relevant(addrs []netip.Addr, links []string) Table {
	reads := make([]reading, len(t.rules))
	for i := range t.rules {
		reads[i] = read(&t.rules[i], t)
		t.learn(&reads[i])
	}
	hits := map[string]map[int]bool{} // set → elements
	for _, s := range t.sets {
		hits[s.name] = s.holding(addrs, links)
	}
	chosen, chains := make([]bool, len(t.rules)), map[string]bool{}
	for again := true; again; {
		again = false
		for i, r := range reads {
			if !chosen[i] && (r.mentions(addrs) || chains[r.chain] || r.looksUp(t, hits)) {
				chosen[i], again = true, true
				chains[t.rules[i].chain] = true
			}
		}
		for _, s := range t.sets {
			for i, e := range s.elements {
				if e.chain != "" && chains[e.chain] && !hits[s.name][i] {
					hits[s.name][i], again = true, true
				}
			}
		}
	}
	out := Table{Family: t.family, Name: t.name}
	asked := map[string]bool{}
	for i, r := range reads {
		if !chosen[i] {
			continue
		}
		chains[r.chain] = true
		for _, l := range r.lookups {
			asked[l.set] = true
		}
	}
	for _, s := range t.sets {
		if asked[s.name] || len(hits[s.name]) > 0 {
			out.Sets = append(out.Sets, s.declaration())
		}
		for i := range hits[s.name] {
			chains[s.elements[i].chain] = true
		}
	}
	for _, c := range t.chains {
		if chains[c.Name] {
			out.Chains = append(out.Chains, c)
		}
	}
	for _, s := range t.sets {
		for i := range s.elements {
			if hits[s.name][i] {
				out.Elements = append(out.Elements, PacketEntry{Set: s.name, Text: s.text(i)})
			}
		}
	}
	for i, r := range t.rules {
		if chosen[i] {
			out.Rules = append(out.Rules, PacketRule{Chain: r.chain, Hook: r.hook, Text: reads[i].text()})
		}
	}
	return out
}

// learn takes the type of a verdict map's key from a rule that asks it: the library that reads sets loses that.
func (t *table) learn(r *reading) {
	for _, l := range r.lookups {
		for i := range t.sets {
			s := &t.sets[i]
			if s.name != l.set || !s.verdicts || len(s.key) > 0 || len(s.elements) == 0 {
				continue
			}
			for _, v := range l.key {
				s.key = append(s.key, cmp.Or(v.kind, "mark")) // numbers, drawn or given
			}
		}
	}
}

// declaration writes what the set is made with; its text is empty where a type is not known.
func (s *set) declaration() PacketSet {
	out := PacketSet{Name: s.name, Map: s.verdicts || len(s.val) > 0}
	if len(s.key) == 0 {
		return out
	}
	out.Text = "type " + strings.Join(s.key, " . ")
	switch {
	case s.verdicts:
		out.Text += " : verdict"
	case len(s.val) > 0:
		out.Text += " : " + strings.Join(s.val, " . ")
	}
	out.Text += ";"
	flags := s.flags
	if s.interval {
		flags = append([]string{"interval"}, flags...)
	}
	if len(flags) > 0 {
		out.Text += " flags " + strings.Join(flags, ",") + ";"
	}
	if s.timeout != "" {
		out.Text += " timeout " + s.timeout + ";"
	}
	return out
}

// holding finds the elements whose key or value has one of the addresses, or, of a set of links, one of the links.
func (s *set) holding(addrs []netip.Addr, links []string) map[int]bool {
	found := map[int]bool{}
	for i, e := range s.elements {
		if s.interval && len(s.key) == 1 {
			if !e.end && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return s.covers(i, a) }) {
				found[i] = true
			}
			continue
		}
		if holds(e.key, s.key, addrs, links) || holds(e.val, s.val, addrs, nil) {
			found[i] = true
		}
	}
	return found
}

// covers tells whether the interval that begins at element i has a.
func (s *set) covers(i int, a netip.Addr) bool {
	key, b := s.elements[i].key, a.AsSlice()
	if len(key) != len(b) || bytes.Compare(b, key) < 0 {
		return false
	}
	end := s.endOf(i)
	return end == nil || bytes.Compare(b, end) < 0
}

// endOf finds the first address past the interval; nil = it goes on to the last.
func (s *set) endOf(i int) []byte {
	var end []byte
	for _, e := range s.elements {
		if e.end && bytes.Compare(e.key, s.elements[i].key) > 0 && (end == nil || bytes.Compare(e.key, end) < 0) {
			end = e.key
		}
	}
	return end
}

func holds(data []byte, types []string, addrs []netip.Addr, links []string) bool {
	for _, p := range parts(data, types) {
		switch p.kind {
		case "ipv4_addr", "ipv6_addr":
			if a, ok := netip.AddrFromSlice(p.data); ok && slices.Contains(addrs, a) {
				return true
			}
		case "ifname":
			if slices.Contains(links, cstring(p.data)) {
				return true
			}
		}
	}
	return false
}

type part struct {
	kind string
	data []byte
}

var widths = map[string]int{"ipv4_addr": 4, "ipv6_addr": 16, "inet_proto": 1, "inet_service": 2, "mark": 4, "ifname": 16, "ether_addr": 6, "integer": 4,
	"ct_status": 4, "ct_state": 4, "fib_addrtype": 4, "nf_proto": 1}

// parts takes a concatenation apart: each part begins at a multiple of four bytes.
func parts(data []byte, types []string) []part {
	var out []part
	for _, kind := range types {
		n, known := widths[kind]
		if !known || len(data) < n {
			break
		}
		out = append(out, part{kind, data[:n]})
		data = data[min(len(data), (n+3)&^3):]
	}
	if len(data) > 0 {
		out = append(out, part{"", data})
	}
	return out
}

func (s *set) text(i int) string {
	e := s.elements[i]
	if s.interval && len(s.key) == 1 {
		return intervalText(e.key, s.endOf(i))
	}
	text := concatText(e.key, s.key)
	switch {
	case e.verdict != "":
		text += " : " + e.verdict
	case len(e.val) > 0:
		text += " : " + concatText(e.val, s.val)
	}
	return text
}

// intervalText writes an interval as a prefix where it is one.
func intervalText(from, end []byte) string {
	first, ok := netip.AddrFromSlice(from)
	if !ok {
		return fmt.Sprintf("%#x", from)
	}
	for bits := range first.BitLen() + 1 {
		p := netip.PrefixFrom(first, bits)
		if p.Masked() != p {
			continue
		}
		if past := pastOf(p); bytes.Equal(past, end) {
			if bits == first.BitLen() {
				return first.String()
			}
			return p.String()
		}
	}
	last, _ := netip.AddrFromSlice(end)
	return first.String() + "-" + last.Prev().String()
}

// pastOf is the first address after a prefix, nil after the last.
func pastOf(p netip.Prefix) []byte {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	if next := last.Next(); next.IsValid() {
		return next.AsSlice()
	}
	return nil
}

func concatText(data []byte, types []string) string {
	var out []string
	for _, p := range parts(data, types) {
		out = append(out, valueText(p.kind, p.data))
	}
	return strings.Join(out, " . ")
}

// valueText writes a constant as nft does.
func valueText(kind string, b []byte) string {
	switch kind {
	case "ipv4_addr", "ipv6_addr":
		if a, ok := netip.AddrFromSlice(b); ok {
			return a.String()
		}
	case "inet_service":
		if len(b) >= 2 {
			return fmt.Sprint(binary.BigEndian.Uint16(b))
		}
	case "inet_proto":
		if len(b) >= 1 {
			if name, ok := map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}[b[0]]; ok {
				return name
			}
			return fmt.Sprint(b[0])
		}
	case "nf_proto":
		if len(b) >= 1 && b[0] == unix.NFPROTO_IPV4 {
			return "ipv4"
		} else if len(b) >= 1 && b[0] == unix.NFPROTO_IPV6 {
			return "ipv6"
		}
	case "ifname":
		return fmt.Sprintf("%q", cstring(b))
	case "fib_addrtype":
		if len(b) == 4 {
			if name, ok := map[uint32]string{unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local"}[binary.NativeEndian.Uint32(b)]; ok {
				return name
			}
		}
	case "mark", "integer", "ct_status", "ct_state":
		if len(b) == 4 {
			return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b))
		}
	}
	return fmt.Sprintf("0x%x", b)
}

// comparison writes a value, masked perhaps, against a constant. A mask from the left of an address is a prefix.
func comparison(v value, op string, data []byte) string {
	if v.mask == nil {
		return v.text + " " + op + valueText(v.kind, data)
	}
	if a, ok := netip.AddrFromSlice(data); ok && strings.HasSuffix(v.kind, "_addr") {
		ones, bits := net.IPMask(v.mask).Size()
		if bits == a.BitLen() {
			return v.text + " " + op + netip.PrefixFrom(a, ones).String()
		}
	}
	if op == "" {
		op = "== "
	}
	return fmt.Sprintf("%s & %s %s%s", v.text, constantText(v.mask), op, constantText(data))
}

// constantText writes bytes that have no type: four are a number of the machine's order, as marks and states are.
func constantText(b []byte) string {
	if len(b) == 4 {
		return fmt.Sprintf("0x%x", binary.NativeEndian.Uint32(b))
	}
	return fmt.Sprintf("0x%x", b)
}

// parseVerdict reads the attributes of a verdict map's value: NFTA_VERDICT_CODE and NFTA_VERDICT_CHAIN.
func parseVerdict(b []byte) *expr.Verdict {
	var v *expr.Verdict
	chain := ""
	for len(b) >= 4 {
		n, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < 4 || n > len(b) {
			break
		}
		switch kind &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
		case unix.NFTA_VERDICT_CODE:
			if n == 8 {
				v = &expr.Verdict{Kind: expr.VerdictKind(int32(binary.BigEndian.Uint32(b[4:])))}
			}
		case unix.NFTA_VERDICT_CHAIN:
			chain = cstring(b[4:n])
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	if v != nil {
		v.Chain = chain
	}
	return v
}

func cstring(b []byte) string {
	text, _, _ := strings.Cut(string(b), "\x00")
	return text
}

// reading is a rule put in words: registers followed, expressions written as nft writes them.
type reading struct {
	words   []string
	lookups []lookup
	chain   string // jumped to or gone to
	data    [][]byte
	regs    map[uint32]value // by 32-bit word
}

// value is what a register holds: its text in nft's language and, of a constant, its bytes.
type value struct {
	text, kind string
	size       uint32 // in 32-bit words
	constant   []byte
	mask       []byte // that the value was masked with, not yet in text
}

type lookup struct {
	set string
	key []value
}

// word is a register's place: a register of 16 bytes is four of 4 bytes (nft_parse_register in the kernel's nf_tables_api.c).
func word(reg uint32) uint32 {
	if reg <= 4 {
		return reg * 4
	}
	return reg - 4
}

func read(r *rule, t *table) reading {
	out := reading{regs: map[uint32]value{}}
	for _, e := range r.exprs {
		out.step(e, t)
	}
	return out
}

func (r *reading) text() string { return strings.Join(r.words, " ") }

func (r *reading) say(format string, args ...any) {
	r.words = append(r.words, fmt.Sprintf(format, args...))
}

func (r *reading) put(reg uint32, v value) { v.size = max(v.size, 1); r.regs[word(reg)] = v }

func (r *reading) get(reg uint32) value {
	if v, ok := r.regs[word(reg)]; ok {
		return v
	}
	return value{text: "?", size: 1}
}

// key gathers the registers that a lookup of n bytes begins with; n = 0: all that follow.
func (r *reading) key(reg uint32, n int) []value {
	var out []value
	for at, left := word(reg), n; n == 0 || left > 0; {
		v, ok := r.regs[at]
		if !ok {
			break
		}
		out = append(out, v)
		at, left = at+v.size, left-int(v.size)*4
	}
	return out
}

func keyText(key []value) string {
	var out []string
	for _, v := range key {
		out = append(out, v.text)
	}
	return strings.Join(out, " . ")
}

func (r *reading) step(e expr.Any, t *table) {
	switch e := e.(type) {
	case *expr.Meta:
		v := metaValue(e.Key)
		if e.SourceRegister {
			r.say("%s set %s", v.text, r.get(e.Register).text)
			return
		}
		r.put(e.Register, v)
	case *expr.Payload:
		v := payloadValue(e)
		if n := len(r.words); v.text == "icmp type" && n > 0 && r.words[n-1] == "meta l4proto ipv6-icmp" {
			v.text = "icmpv6 type"
		}
		r.put(e.DestRegister, v)
	case *expr.Immediate:
		r.put(e.Register, value{text: constantText(e.Data), size: uint32(len(e.Data)+3) / 4, constant: e.Data})
	case *expr.Bitwise:
		v := r.get(e.SourceRegister)
		v.constant, v.mask = nil, e.Mask
		if !zero(e.Xor) {
			v.text, v.mask = fmt.Sprintf("(%s & %s) ^ %s", v.text, constantText(e.Mask), constantText(e.Xor)), nil
		}
		r.put(e.DestRegister, v)
	case *expr.Cmp:
		v := r.get(e.Register)
		op := map[expr.CmpOp]string{expr.CmpOpNeq: "!= ", expr.CmpOpLt: "< ", expr.CmpOpLte: "<= ", expr.CmpOpGt: "> ", expr.CmpOpGte: ">= "}[e.Op]
		r.data = append(r.data, e.Data)
		r.say("%s", comparison(v, op, e.Data))
	case *expr.Lookup:
		r.lookup(e, t)
	case *expr.NAT:
		kind := "dnat"
		if e.Type == expr.NATTypeSourceNAT {
			kind = "snat"
		}
		r.say("%s %s to %s", kind, map[uint32]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}[e.Family], r.target(e))
	case *expr.Masq:
		r.say("masquerade")
		if e.FullyRandom {
			r.say("fully-random")
		}
	case *expr.Verdict:
		r.verdict(e)
	case *expr.Fib:
		r.put(e.Register, value{text: map[bool]string{true: "fib saddr type", false: "fib daddr type"}[e.FlagSADDR], kind: "fib_addrtype"})
	case *expr.Ct:
		v := ctValue(e.Key)
		if e.SourceRegister {
			r.say("%s set %s", v.text, r.get(e.Register).text)
			return
		}
		r.put(e.Register, v)
	case *expr.Numgen:
		r.put(e.Register, value{text: fmt.Sprintf("numgen random mod %d", e.Modulus)})
	case *expr.Reject:
		if e.Type == unix.NFT_REJECT_TCP_RST {
			r.say("reject with tcp reset")
			return
		}
		r.say("reject")
	case *expr.Dynset:
		timeout := ""
		if e.Timeout > 0 {
			timeout = " timeout " + e.Timeout.String()
		}
		r.lookups = append(r.lookups, lookup{set: e.SetName})
		r.say("update @%s { %s%s }", e.SetName, r.get(e.SrcRegKey).text, timeout)
	case *expr.Counter:
		r.say("counter packets %d bytes %d", e.Packets, e.Bytes)
	default:
		r.say("(%s)", strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "*expr.")))
	}
}

// target is where a NAT rule sends to: an address and port of its own, or what a map has.
func (r *reading) target(e *expr.NAT) string {
	addr := r.get(e.RegAddrMin)
	a, ok := netip.AddrFromSlice(addr.constant)
	if !ok {
		return addr.text
	}
	r.data = append(r.data, addr.constant)
	if port := r.get(e.RegProtoMin); e.RegProtoMin != 0 && len(port.constant) >= 2 {
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port.constant)).String()
	}
	return a.String()
}

func (r *reading) lookup(e *expr.Lookup, t *table) {
	n := 0
	for _, s := range t.sets {
		if s.name == e.SetName && len(s.elements) > 0 {
			n = len(s.elements[0].key)
		}
	}
	key := r.key(e.SourceRegister, n)
	r.lookups = append(r.lookups, lookup{e.SetName, key})
	switch {
	case e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT:
		r.say("%s vmap @%s", keyText(key), e.SetName)
	case e.IsDestRegSet:
		r.put(e.DestRegister, value{text: fmt.Sprintf("%s map @%s", keyText(key), e.SetName)})
	case e.Invert:
		r.say("%s != @%s", keyText(key), e.SetName)
	default:
		r.say("%s @%s", keyText(key), e.SetName)
	}
}

func (r *reading) verdict(e *expr.Verdict) {
	r.words = append(r.words, verdictText(e))
	if e.Kind == expr.VerdictJump || e.Kind == expr.VerdictGoto {
		r.chain = e.Chain
	}
}

func verdictText(e *expr.Verdict) string {
	switch e.Kind {
	case expr.VerdictJump:
		return "jump " + e.Chain
	case expr.VerdictGoto:
		return "goto " + e.Chain
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictDrop:
		return "drop"
	case expr.VerdictReturn:
		return "return"
	}
	return fmt.Sprintf("verdict %d", e.Kind)
}

// mentions tells whether the rule compares with one of the addresses itself.
func (r *reading) mentions(addrs []netip.Addr) bool {
	return slices.ContainsFunc(r.data, func(b []byte) bool {
		a, ok := netip.AddrFromSlice(b)
		return ok && slices.Contains(addrs, a)
	})
}

// looksUp tells whether a lookup of the rule can find one of the elements: the constants in its key are the element's.
func (r *reading) looksUp(t *table, hits map[string]map[int]bool) bool {
	for _, l := range r.lookups {
		for _, s := range t.sets {
			if s.name != l.set {
				continue
			}
			for i := range hits[s.name] {
				if agrees(l.key, s.elements[i].key) {
					return true
				}
			}
		}
	}
	return false
}

func agrees(key []value, data []byte) bool {
	at := 0
	for _, v := range key {
		if v.constant != nil && (at+len(v.constant) > len(data) || !bytes.Equal(v.constant, data[at:at+len(v.constant)])) {
			return false
		}
		at += int(v.size) * 4
	}
	return true
}

func metaValue(k expr.MetaKey) value {
	switch k {
	case expr.MetaKeyL4PROTO:
		return value{text: "meta l4proto", kind: "inet_proto"}
	case expr.MetaKeyNFPROTO:
		return value{text: "meta nfproto", kind: "nf_proto"}
	case expr.MetaKeyIIFNAME:
		return value{text: "iifname", kind: "ifname", size: 4}
	case expr.MetaKeyOIFNAME:
		return value{text: "oifname", kind: "ifname", size: 4}
	case expr.MetaKeyMARK:
		return value{text: "meta mark", kind: "mark"}
	}
	return value{text: fmt.Sprintf("meta %d", k)}
}

func ctValue(k expr.CtKey) value {
	switch k {
	case expr.CtKeySTATUS:
		return value{text: "ct status", kind: "ct_status"}
	case expr.CtKeySTATE:
		return value{text: "ct state", kind: "ct_state"}
	case expr.CtKeyMARK:
		return value{text: "ct mark", kind: "mark"}
	}
	return value{text: fmt.Sprintf("ct %d", k)}
}

func payloadValue(e *expr.Payload) value {
	type place struct{ base, offset, length uint32 }
	const network, transport = uint32(expr.PayloadBaseNetworkHeader), uint32(expr.PayloadBaseTransportHeader)
	v, ok := map[place]value{
		{network, 12, 4}:  {text: "ip saddr", kind: "ipv4_addr"},
		{network, 16, 4}:  {text: "ip daddr", kind: "ipv4_addr"},
		{network, 8, 16}:  {text: "ip6 saddr", kind: "ipv6_addr"},
		{network, 24, 16}: {text: "ip6 daddr", kind: "ipv6_addr"},
		{network, 9, 1}:   {text: "ip protocol", kind: "inet_proto"},
		{transport, 0, 2}: {text: "th sport", kind: "inet_service"},
		{transport, 2, 2}: {text: "th dport", kind: "inet_service"},
		{transport, 0, 1}: {text: "icmp type"},
	}[place{uint32(e.Base), e.Offset, e.Len}]
	if !ok {
		v.text = fmt.Sprintf("@%s,%d,%d", map[uint32]string{0: "ll", 1: "nh", 2: "th"}[uint32(e.Base)], e.Offset*8, e.Len*8)
	}
	v.size = (e.Len + 3) / 4
	return v
}
