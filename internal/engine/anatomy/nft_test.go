package anatomy

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func endpoint(addr string, port byte) []byte {
	return append(netip.MustParseAddr(addr).AsSlice(), 0, port, 0, 0)
}

// A service's way to a pod, and another's to another pod, which share all maps.
func services() table {
	word32 := func(n uint32) uint32 { return unix.NFT_REG32_00 + n }
	way := func(chain string, number uint32) rule {
		return rule{chain: chain, exprs: []expr.Any{
			&expr.Immediate{Register: word32(0), Data: u32(number)},
			&expr.Numgen{Register: word32(1), Modulus: 1},
			&expr.Lookup{SourceRegister: word32(0), DestRegister: word32(0), IsDestRegSet: true, SetName: "endpoints"},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: word32(0), RegProtoMin: word32(1)}}}
	}
	key := func(addr string) []byte { return append(netip.MustParseAddr(addr).AsSlice(), 6, 0, 0, 0, 0, 80, 0, 0) }
	return table{family: "inet", name: "s", sets: []set{
		{name: "cluster", verdicts: true, elements: []element{
			{key: key("10.43.0.7"), chain: "svc-a", verdict: "goto svc-a"}, {key: key("10.43.0.8"), chain: "svc-b", verdict: "goto svc-b"}}},
		{name: "endpoints", key: []string{"mark", "mark"}, val: []string{"ipv4_addr", "inet_service"}, elements: []element{
			{key: append(u32(1), u32(0)...), val: endpoint("10.42.0.2", 80)}, {key: append(u32(2), u32(0)...), val: endpoint("10.42.0.3", 80)}}},
		{name: "masq", interval: true, key: []string{"ipv4_addr"}, elements: []element{
			{key: []byte{10, 43, 0, 0}}, {key: []byte{10, 42, 0, 0}}, {key: []byte{10, 42, 1, 0}, end: true}, {key: []byte{10, 44, 0, 0}, end: true}}},
	}, chains: []PacketChain{{"pre", "nat prerouting -100"}, {"services", ""}, {"svc-a", ""}, {"svc-b", ""}, {"post", ""}, {"other", ""}}, rules: []rule{
		{chain: "pre", hook: "nat prerouting -100", exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: "services"}}},
		{chain: "services", exprs: []expr.Any{
			&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4, DestRegister: word32(0)},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: word32(1)},
			&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: word32(2)},
			&expr.Lookup{SourceRegister: word32(0), DestRegister: 0, IsDestRegSet: true, SetName: "cluster"}}},
		way("svc-a", 1), way("svc-b", 2),
		{chain: "post", exprs: []expr.Any{
			&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4, DestRegister: 1},
			&expr.Lookup{SourceRegister: 1, SetName: "masq"}, &expr.Masq{}}},
		{chain: "other", exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}},
	}}
}

func TestRelevantFollowsTheWayBackwards(t *testing.T) {
	got := relevant([]table{services()}, []netip.Addr{netip.MustParseAddr("10.42.0.2")}, nil)
	want := []Table{{Family: "inet", Name: "s",
		Sets: []PacketSet{{"cluster", true, "type ipv4_addr . inet_proto . inet_service : verdict;"},
			{"endpoints", true, "type mark . mark : ipv4_addr . inet_service;"}, {"masq", false, "type ipv4_addr; flags interval;"}},
		Chains:   []PacketChain{{"pre", "nat prerouting -100"}, {"services", ""}, {"svc-a", ""}, {"post", ""}},
		Elements: []PacketEntry{{"cluster", "10.43.0.7 . tcp . 80 : goto svc-a"}, {"endpoints", "0x00000001 . 0x00000000 : 10.42.0.2 . 80"}, {"masq", "10.42.0.0/24"}},
		Rules: []PacketRule{{"pre", "nat prerouting -100", "jump services"}, {"services", "", "ip daddr . meta l4proto . th dport vmap @cluster"},
			{"svc-a", "", "dnat ip to 0x1 . numgen random mod 1 map @endpoints"}, {"post", "", "ip saddr @masq masquerade"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := relevant([]table{services()}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil); got != nil {
		t.Errorf("a stranger's address: %+v", got)
	}
}

// A service with session affinity sends to an address that stands in the rule itself.
func TestRelevantFindsAddressesOfRules(t *testing.T) {
	to := rule{chain: "client", exprs: []expr.Any{
		&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4, DestRegister: 1},
		&expr.Dynset{SetName: "clients", SrcRegKey: 1, Timeout: 3 * time.Hour},
		&expr.Immediate{Register: 1, Data: []byte{10, 42, 0, 2}}, &expr.Immediate{Register: 2, Data: []byte{0, 80}},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2}}}
	all := table{family: "inet", name: "s", chains: []PacketChain{{"client", ""}}, rules: []rule{to},
		sets: []set{{name: "clients", key: []string{"ipv4_addr"}, flags: []string{"dynamic", "timeout"}, timeout: "3h0m0s"}}}
	got := relevant([]table{all}, []netip.Addr{netip.MustParseAddr("10.42.0.2")}, nil)
	want := []Table{{Family: "inet", Name: "s", Sets: []PacketSet{{"clients", false, "type ipv4_addr; flags dynamic,timeout; timeout 3h0m0s;"}},
		Chains: []PacketChain{{"client", ""}}, Rules: []PacketRule{{"client", "", "update @clients { ip saddr timeout 3h0m0s } dnat ip to 10.42.0.2:80"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestIntervalText(t *testing.T) {
	for _, c := range []struct {
		from, end []byte
		want      string
	}{
		{[]byte{10, 42, 0, 0}, []byte{10, 42, 1, 0}, "10.42.0.0/24"},
		{[]byte{10, 42, 0, 1}, []byte{10, 42, 0, 2}, "10.42.0.1"},
		{[]byte{10, 42, 0, 1}, []byte{10, 42, 0, 9}, "10.42.0.1-10.42.0.8"},
		{[]byte{240, 0, 0, 0}, nil, "240.0.0.0/4"},
	} {
		if got := intervalText(c.from, c.end); got != c.want {
			t.Errorf("%v to %v: %s, want %s", c.from, c.end, got, c.want)
		}
	}
}

func TestParseVerdict(t *testing.T) {
	b := append([]byte{8, 0, 1, 0}, binary.BigEndian.AppendUint32(nil, 0xfffffffc)...) // NFT_GOTO
	b = append(b, append([]byte{8, 0, 2, 0}, "svc\x00"...)...)
	if v := parseVerdict(b); v == nil || verdictText(v) != "goto svc" {
		t.Errorf("got %+v", v)
	}
}
