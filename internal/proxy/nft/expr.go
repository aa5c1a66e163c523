package nft

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Registers of 32 bits: what a concatenation reads lies in neighbouring ones.
const reg0 = unix.NFT_REG32_00

// rule is a rule under construction; each method appends one expression, in the order in which the kernel evaluates them.
type rule struct {
	b    *batch
	list int
}

// rule opens a rule at the end of a chain; done finishes it.
func (b *batch) rule(table, chain string) rule {
	b.open(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	b.text(unix.NFTA_RULE_TABLE, table)
	b.text(unix.NFTA_RULE_CHAIN, chain)
	return rule{b, b.nest(unix.NFTA_RULE_EXPRESSIONS)}
}

func (r rule) done() {
	r.b.close(r.list)
	r.b.finish()
}

func (r rule) expr(name string, data func(*batch)) rule {
	b := r.b
	elem := b.nest(unix.NFTA_LIST_ELEM)
	b.text(unix.NFTA_EXPR_NAME, name)
	at := b.nest(unix.NFTA_EXPR_DATA)
	data(b)
	b.close(at)
	b.close(elem)
	return r
}

func (r rule) payload(dreg, base, offset, n uint32) rule {
	return r.expr("payload", func(b *batch) {
		b.u32(unix.NFTA_PAYLOAD_DREG, dreg)
		b.u32(unix.NFTA_PAYLOAD_BASE, base)
		b.u32(unix.NFTA_PAYLOAD_OFFSET, offset)
		b.u32(unix.NFTA_PAYLOAD_LEN, n)
	})
}

// is goes on if the packet is of the family. In a chain that only such packets reach it is there for the reader: with it, nft prints
// "ip daddr" where it would print an offset.
func (r rule) is(f family) rule {
	return r.meta(reg0, unix.NFT_META_NFPROTO).cmp(unix.NFT_CMP_EQ, reg0, f.number)
}

// saddr and daddr load an address of the family.
func (r rule) saddr(f family, dreg uint32) rule {
	return r.payload(dreg, unix.NFT_PAYLOAD_NETWORK_HEADER, f.saddrAt, f.addrLen)
}

func (r rule) daddr(f family, dreg uint32) rule {
	return r.payload(dreg, unix.NFT_PAYLOAD_NETWORK_HEADER, f.daddrAt, f.addrLen)
}

// dport loads the destination port: at the same place in TCP, UDP and SCTP.
func (r rule) dport(dreg uint32) rule {
	return r.payload(dreg, unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)
}

func (r rule) meta(dreg, key uint32) rule {
	return r.expr("meta", func(b *batch) {
		b.u32(unix.NFTA_META_DREG, dreg)
		b.u32(unix.NFTA_META_KEY, key)
	})
}

func (r rule) setMark(sreg uint32) rule {
	return r.expr("meta", func(b *batch) {
		b.u32(unix.NFTA_META_KEY, unix.NFT_META_MARK)
		b.u32(unix.NFTA_META_SREG, sreg)
	})
}

func (r rule) cmp(op, sreg uint32, v ...byte) rule {
	return r.expr("cmp", func(b *batch) {
		b.u32(unix.NFTA_CMP_SREG, sreg)
		b.u32(unix.NFTA_CMP_OP, op)
		b.value(unix.NFTA_CMP_DATA, v...)
	})
}

// cmpHost compares a register that holds a number in the host's byte order.
func (r rule) cmpHost(op, sreg, v uint32) rule {
	var raw [4]byte
	ne.PutUint32(raw[:], v)
	return r.cmp(op, sreg, raw[:]...)
}

func (r rule) bitwise(reg uint32, mask, xor []byte) rule {
	return r.expr("bitwise", func(b *batch) {
		b.u32(unix.NFTA_BITWISE_SREG, reg)
		b.u32(unix.NFTA_BITWISE_DREG, reg)
		b.u32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		b.value(unix.NFTA_BITWISE_MASK, mask...)
		b.value(unix.NFTA_BITWISE_XOR, xor...)
	})
}

// bits keeps the bits of mask and flips those of xor, in the host's byte order.
func (r rule) bits(reg, mask, xor uint32) rule {
	var m, x [4]byte
	ne.PutUint32(m[:], mask)
	ne.PutUint32(x[:], xor)
	return r.bitwise(reg, m[:], x[:])
}

// within goes on if the address in reg is inside the prefix; reg is overwritten. For op NEQ: if it is outside.
func (r rule) within(op, reg uint32, p netip.Prefix) rule {
	addr := p.Masked().Addr().AsSlice()
	mask, zero := make([]byte, len(addr)), make([]byte, len(addr))
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return r.bitwise(reg, mask, zero).cmp(op, reg, addr...)
}

func (r rule) lookup(set string, sreg, dreg uint32, inverted bool) rule {
	return r.expr("lookup", func(b *batch) {
		b.text(unix.NFTA_LOOKUP_SET, set)
		b.u32(unix.NFTA_LOOKUP_SREG, sreg)
		if inverted {
			b.u32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
			return
		}
		if dreg != noReg {
			b.u32(unix.NFTA_LOOKUP_DREG, dreg)
		}
	})
}

// noReg: a lookup that only asks whether the key is there. (Register 0 is the verdict's.)
const noReg = ^uint32(0)

// vmap takes the verdict that a verdict map has for the key in sreg.
func (r rule) vmap(set string, sreg uint32) rule {
	return r.lookup(set, sreg, unix.NFT_REG_VERDICT, false)
}

func (r rule) load(dreg uint32, v ...byte) rule {
	return r.expr("immediate", func(b *batch) {
		b.u32(unix.NFTA_IMMEDIATE_DREG, dreg)
		b.value(unix.NFTA_IMMEDIATE_DATA, v...)
	})
}

func (r rule) verdict(code int32, chain string) rule {
	return r.expr("immediate", func(b *batch) {
		b.u32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		b.verdict(unix.NFTA_IMMEDIATE_DATA, code, chain)
	})
}

func (r rule) jump(chain string) rule    { return r.verdict(unix.NFT_JUMP, chain) }
func (r rule) goTo(chain string) rule    { return r.verdict(unix.NFT_GOTO, chain) }
func (r rule) verdictReturn() rule       { return r.verdict(unix.NFT_RETURN, "") }
func (r rule) verdictDrop() rule         { return r.verdict(nfDrop, "") }
func (r rule) protocol(dreg uint32) rule { return r.meta(dreg, unix.NFT_META_L4PROTO) }

// random draws a number below n.
func (r rule) random(dreg, n uint32) rule {
	return r.expr("numgen", func(b *batch) {
		b.u32(unix.NFTA_NG_DREG, dreg)
		b.u32(unix.NFTA_NG_MODULUS, n)
		b.u32(unix.NFTA_NG_TYPE, unix.NFT_NG_RANDOM)
	})
}

// dnat sends the connection to the address and port in registers.
func (r rule) dnat(f family, addr, port uint32) rule {
	return r.expr("nat", func(b *batch) {
		b.u32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		b.u32(unix.NFTA_NAT_FAMILY, uint32(f.number))
		b.u32(unix.NFTA_NAT_REG_ADDR_MIN, addr)
		b.u32(unix.NFTA_NAT_REG_PROTO_MIN, port)
	})
}

func (r rule) masquerade() rule {
	return r.expr("masq", func(b *batch) {
		b.u32(unix.NFTA_MASQ_FLAGS, natRandomFully)
	})
}

func (r rule) ct(dreg, key uint32) rule {
	return r.expr("ct", func(b *batch) {
		b.u32(unix.NFTA_CT_DREG, dreg)
		b.u32(unix.NFTA_CT_KEY, key)
	})
}

// toLocal goes on if the destination is an address of this host.
func (r rule) toLocal() rule { return r.addressType(fibDaddr) }

// fromLocal goes on if the source is an address of this host.
func (r rule) fromLocal() rule { return r.addressType(fibSaddr) }

func (r rule) addressType(which uint32) rule {
	return r.expr("fib", func(b *batch) {
		b.u32(unix.NFTA_FIB_DREG, reg0)
		b.u32(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE)
		b.u32(unix.NFTA_FIB_FLAGS, which)
	}).cmpHost(unix.NFT_CMP_EQ, reg0, unix.RTN_LOCAL)
}

// update puts a key into a dynamic set, or sets the time to live of one that is there anew.
func (r rule) update(set string, key uint32, ttl uint64) rule {
	return r.expr("dynset", func(b *batch) {
		b.text(unix.NFTA_DYNSET_SET_NAME, set)
		b.u32(unix.NFTA_DYNSET_OP, unix.NFT_DYNSET_OP_UPDATE)
		b.u32(unix.NFTA_DYNSET_SREG_KEY, key)
		b.u64(unix.NFTA_DYNSET_TIMEOUT, ttl)
	})
}

func (r rule) reject(kind uint32, code uint8) rule {
	return r.expr("reject", func(b *batch) {
		b.u32(unix.NFTA_REJECT_TYPE, kind)
		b.u8(unix.NFTA_REJECT_ICMP_CODE, code)
	})
}

// Numbers that golang.org/x/sys does not name (linux/netfilter.h, nf_nat.h, nf_conntrack_common.h, nf_tables.h).
const (
	nfDrop         = 0
	nfAccept       = 1
	natRandomFully = 1 << 4
	fibSaddr       = 1 << 0
	fibDaddr       = 1 << 1
	ctStateNew     = 1 << 3
	ctStatusDNAT   = 1 << 5
)

// family is one IP version as nf_tables sees it.
type family struct {
	number           uint8
	name             string
	addrLen          uint32
	saddrAt, daddrAt uint32
	addrType         uint32 // nft's own number for the type, so that its listing reads well
	endpointLen      uint32 // address and port in registers
	v6               bool
}

var (
	ipv4 = family{unix.NFPROTO_IPV4, "4", 4, 12, 16, 7, 8, false}
	ipv6 = family{unix.NFPROTO_IPV6, "6", 16, 8, 24, 8, 20, true}
)

func familyOf(v6 bool) family {
	if v6 {
		return ipv6
	}
	return ipv4
}

// Numbers of nft's data types.
const (
	typeProto   = 12
	typeService = 13
	typeMark    = 19 // for our own numbers: the one type of four bytes without a meaning that nft would print
)

func concat(types ...uint32) (out uint32) {
	for _, t := range types {
		out = out<<6 | t
	}
	return out
}
