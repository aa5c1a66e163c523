package nft

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Hooks and priorities (linux/netfilter.h, netfilter_ipv4.h): conntrack works at -200, other people's destination NAT at -100.
const (
	hookPrerouting  = 0
	hookOutput      = 3
	hookPostrouting = 4

	priorityRaw    = -300
	priorityFilter = -101
	priorityDNAT   = -100
	prioritySNAT   = 100
)

// base appends the table with everything that does not depend on services.
func (t *Table) base(b *batch) {
	name := t.cfg.Table
	b.addTable(name)
	for _, f := range []family{ipv4, ipv6} {
		key := concat(f.addrType, typeProto, typeService)
		verdicts := set{flags: unix.NFT_SET_MAP, keyType: key, keyLen: f.addrLen + 8, dataType: unix.NFT_DATA_VERDICT}
		for _, n := range []string{"cluster", "external", "dead"} {
			verdicts.name = n + f.name
			b.addSet(name, verdicts)
		}
		verdicts.keyType, verdicts.keyLen = concat(typeProto, typeService), 8
		for _, n := range []string{"nodeports", "deadports"} {
			verdicts.name = n + f.name
			b.addSet(name, verdicts)
		}
		endpoint := concat(f.addrType, typeService)
		for i := range uint32(shards) {
			b.addSet(name, set{name: endpointMap(f, i), flags: unix.NFT_SET_MAP, keyType: concat(typeMark, typeMark), keyLen: 8, dataType: endpoint, length: f.endpointLen})
		}
		b.addSet(name, set{name: "choices" + f.name, flags: unix.NFT_SET_MAP, keyType: concat(typeMark, typeMark), keyLen: 8, dataType: unix.NFT_DATA_VERDICT})
		b.addSet(name, set{name: "known" + f.name, keyType: key, keyLen: f.addrLen + 8})
		b.addSet(name, set{name: "hairpin" + f.name, keyType: concat(f.addrType, f.addrType), keyLen: 2 * f.addrLen})
	}
	for _, c := range []string{"mark", "drop", "refuse", "services4", "services6", "dead4", "dead6", "outside4", "outside6"} {
		b.addChain(name, c)
	}
	b.rule(name, "mark").meta(reg0, unix.NFT_META_MARK).bits(reg0, ^t.cfg.Mark, t.cfg.Mark).setMark(reg0).done()
	b.rule(name, "drop").verdictDrop().done()
	b.rule(name, "refuse").protocol(reg0).cmp(unix.NFT_CMP_EQ, reg0, unix.IPPROTO_TCP).reject(unix.NFT_REJECT_TCP_RST, 0).done()
	b.rule(name, "refuse").reject(unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_PORT_UNREACH).done()
	for _, f := range []family{ipv4, ipv6} {
		t.services(b, f)
		t.dead(b, f)
	}
	t.hooks(b)
}

// loadKey puts destination, protocol and port into neighbouring registers.
func (r rule) loadKey(f family) rule {
	next := reg0 + f.addrLen/4
	return r.is(f).daddr(f, reg0).protocol(next).dport(next + 1)
}

func (t *Table) services(b *batch, f family) {
	name, chain := t.cfg.Table, "services"+f.name
	if pods := only(t.cfg.PodCIDRs, f); len(pods) > 0 {
		for _, p := range pods {
			b.rule(name, "outside"+f.name).is(f).saddr(f, reg0).within(unix.NFT_CMP_EQ, reg0, p).verdictReturn().done()
		}
		b.rule(name, "outside"+f.name).jump("mark").done()
		for _, s := range only(t.cfg.ServiceCIDRs, f) {
			b.rule(name, chain).is(f).daddr(f, reg0).within(unix.NFT_CMP_EQ, reg0, s).jump("outside" + f.name).done()
		}
	}
	b.rule(name, chain).loadKey(f).vmap("cluster"+f.name, reg0).done()
	b.rule(name, chain).loadKey(f).vmap("external"+f.name, reg0).done()
	b.rule(name, chain).toLocal().protocol(reg0).dport(reg0+1).vmap("nodeports"+f.name, reg0).done()
}

func (t *Table) dead(b *batch, f family) {
	name, chain := t.cfg.Table, "dead"+f.name
	b.rule(name, chain).loadKey(f).vmap("dead"+f.name, reg0).done()
	b.rule(name, chain).toLocal().protocol(reg0).dport(reg0+1).vmap("deadports"+f.name, reg0).done()
	b.rule(name, chain).toLocal().verdictReturn().done() // a service address that this host has itself, such as that of its DNS
	for _, s := range only(t.cfg.ServiceCIDRs, f) {
		b.rule(name, chain).is(f).daddr(f, reg0).within(unix.NFT_CMP_EQ, reg0, s).loadKey(f).lookup("known"+f.name, reg0, noReg, true).goTo("refuse").done()
	}
}

func (t *Table) hooks(b *batch) {
	name := t.cfg.Table
	byFamily := func(chain, v4, v6 string) {
		b.rule(name, chain).meta(reg0, unix.NFT_META_NFPROTO).cmp(unix.NFT_CMP_EQ, reg0, unix.NFPROTO_IPV4).jump(v4).done()
		b.rule(name, chain).meta(reg0, unix.NFT_META_NFPROTO).cmp(unix.NFT_CMP_EQ, reg0, unix.NFPROTO_IPV6).jump(v6).done()
	}
	if t.cfg.Loopback {
		b.addBaseChain(name, "raw-prerouting", "filter", hookPrerouting, priorityRaw)
		b.rule(name, "raw-prerouting").meta(reg0, unix.NFT_META_NFPROTO).cmp(unix.NFT_CMP_EQ, reg0, unix.NFPROTO_IPV4).
			meta(reg0, unix.NFT_META_IIFTYPE).cmp(unix.NFT_CMP_NEQ, reg0, ne.AppendUint16(nil, unix.ARPHRD_LOOPBACK)...).
			daddr(ipv4, reg0).within(unix.NFT_CMP_EQ, reg0, netip.MustParsePrefix("127.0.0.0/8")).verdictDrop().done()
	}
	for chain, hook := range map[string]uint32{"filter-prerouting": hookPrerouting, "filter-output": hookOutput} {
		b.addBaseChain(name, chain, "filter", hook, priorityFilter)
		b.rule(name, chain).ct(reg0, unix.NFT_CT_STATE).bits(reg0, ctStateNew, 0).cmpHost(unix.NFT_CMP_EQ, reg0, 0).verdictReturn().done()
		byFamily(chain, "dead4", "dead6")
	}
	for chain, hook := range map[string]uint32{"nat-prerouting": hookPrerouting, "nat-output": hookOutput} {
		b.addBaseChain(name, chain, "nat", hook, priorityDNAT)
		byFamily(chain, "services4", "services6")
	}
	const post = "nat-postrouting"
	b.addBaseChain(name, post, "nat", hookPostrouting, prioritySNAT)
	b.rule(name, post).meta(reg0, unix.NFT_META_MARK).bits(reg0, t.cfg.Mark, 0).cmpHost(unix.NFT_CMP_EQ, reg0, t.cfg.Mark).
		meta(reg0, unix.NFT_META_MARK).bits(reg0, ^t.cfg.Mark, 0).setMark(reg0).masquerade().done()
	for _, f := range []family{ipv4, ipv6} {
		b.rule(name, post).meta(reg0, unix.NFT_META_NFPROTO).cmp(unix.NFT_CMP_EQ, reg0, f.number).
			ct(reg0, unix.NFT_CT_STATUS).bits(reg0, ctStatusDNAT, 0).cmpHost(unix.NFT_CMP_EQ, reg0, ctStatusDNAT).
			saddr(f, reg0).daddr(f, reg0+f.addrLen/4).lookup("hairpin"+f.name, reg0, noReg, false).masquerade().done()
	}
}

func only(all []netip.Prefix, f family) (out []netip.Prefix) {
	for _, p := range all {
		if p.Addr().Is6() == f.v6 {
			out = append(out, p)
		}
	}
	return out
}
