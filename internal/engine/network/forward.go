package network

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// separate writes the forward chain's rules for networks that are apart. Each verdict ends this table's chain only: what another table
// drops, in any chain of the forward hook, stays dropped, and nothing here is accepted in its stead. In order:
//
//	answers, and what belongs to a connection            pass
//	what was translated: a published port                passes
//	within one bridge                                    passes, unless its endpoints may not meet
//	into or out of an internal network                   dropped
//	from one network that is apart to another            dropped
//	from a bridge of this instance                       passes
//	from outside, to where only published ports lead     dropped
//	from outside, to a routed network                    published ports and pings pass, the rest is dropped
func (f *filter) separate(rule func(...[]expr.Any)) {
	pass, drop := verdict(expr.VerdictAccept), verdict(expr.VerdictDrop)
	rule([]expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}, pass)
	rule(translated(), pass)
	rule(from(f.mute), links(), within(f.same, reg32, false), drop)
	rule(links(), within(f.same, reg32, false), pass)
	for i := range 2 {
		rule(nfproto(i), from(f.internal[i]), drop)
		rule(nfproto(i), to(f.internal[i]), drop)
	}
	rule(from(f.apart), to(f.apart), drop)
	rule(from(f.bridges), pass)
	for i, ping := range []byte{unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6} {
		rule(nfproto(i), to(f.shut[i]), drop)
		at := reg32 + uint32(4+12*i)/4
		rule(nfproto(i), to(f.routed[i]), []expr.Any{load(i, "dst", reg32),
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: at},
			&expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: at + 1},
		}, within(f.opens[i], reg32, false), pass)
		rule(nfproto(i), to(f.routed[i]), []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{ping}},
		}, pass)
		rule(nfproto(i), to(f.routed[i]), drop)
	}
}

// translated holds for connections that were led to another destination.
func translated() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(1 << 5), Xor: make([]byte, 4)}, // IPS_DST_NAT
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// links loads the names of the links that a packet comes and goes by.
func links() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg32}, &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg32 + unix.IFNAMSIZ/4}}
}

// pairElements are the pairs (a, a).
func pairElements(names []string) []nftables.SetElement {
	out := linkElements(names)
	for i := range out {
		out[i].Key = append(out[i].Key, out[i].Key...)
	}
	return out
}
