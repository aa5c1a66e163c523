package nft

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/proxy"
)

// chain is what one chain of a service port does, in this order; zero fields do nothing.
type chain struct {
	name string
	f    family
	// sources: others than these are dropped.
	sources []netip.Prefix
	// mark: masquerade.
	mark bool
	// near: pods, and the host with masquerading, go there.
	near string
	// pick: one of these answers, the same one for a client within affinity.
	pick     []netip.AddrPort // sorted
	affinity time.Duration
	// to: go on there.
	to string
	// drop: what is left.
	drop bool
	// endpoint: remember the client for affinity, and send it there. Nothing else is set then.
	endpoint netip.AddrPort

	id     uint32           // names the chain in the shared maps
	places []netip.AddrPort // pick, in the order that the kernel has it
}

// sameRules tells whether two chains differ in the elements of shared maps at most.
func (c *chain) sameRules(d *chain) bool {
	return c.name == d.name && c.mark == d.mark && c.near == d.near && c.affinity == d.affinity && c.to == d.to && c.drop == d.drop &&
		slices.Equal(c.sources, d.sources) && len(c.pick) == len(d.pick) && (c.affinity == 0 || slices.Equal(c.places, d.places))
}

// sticky are the chains of a chain's endpoints, if clients stay with them.
func (c *chain) sticky() (out []*chain) {
	if c.affinity == 0 {
		return nil
	}
	for _, e := range c.pick {
		out = append(out, &chain{name: c.endpointChain(e), f: c.f, endpoint: e, affinity: c.affinity})
	}
	return out
}

// endpointChain is the name of the chain of one endpoint. The time is part of it: with another one the clients are remembered anew.
func (c *chain) endpointChain(e netip.AddrPort) string {
	return fmt.Sprintf("%s/%s-%d/%ds", c.name, strings.ReplaceAll(e.Addr().String(), ":", "_"), e.Port(), int(c.affinity.Seconds()))
}

type element struct {
	id      elementID
	verdict verdict
}

// maxName keeps chain names, and the longer ones made from them, inside the kernel's 255 bytes.
const maxName = 150

func chainName(kind string, k proxy.Key) string {
	version := "4"
	if k.V6 {
		version = "6"
	}
	name := fmt.Sprintf("%s-%s/%s/%s/%s%s", kind, k.Namespace, k.Service, k.Port, k.Protocol, version)
	if len(name) <= maxName {
		return name
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	return fmt.Sprintf("%s_%016x", name[:maxName-17], h.Sum64())
}

// clients is the set of those who stay with an endpoint.
func clients(chain string) string { return "clients-" + chain }

// program is the objects that a Port needs.
func program(cfg Config, p *proxy.Port) (chains []*chain, elems []element) {
	f := familyOf(p.V6)
	var key [24]byte
	add := func(set string, k []byte, v verdict) {
		elems = append(elems, element{elementID{set + f.name, string(k)}, v})
	}
	more := func(c *chain) { chains = append(append(chains, c.sticky()...), c) }
	at := func(a netip.Addr) []byte { return addrProtoPort(key[:], a, uint8(p.Protocol), p.Number) }
	goTo := func(name string) verdict { return verdict{unix.NFT_GOTO, name} }
	refused := goTo("refuse")

	svc, ext := chainName("svc", p.Key), chainName("ext", p.Key)
	if len(p.Internal) > 0 {
		more(&chain{name: svc, f: f, pick: p.Internal, affinity: p.Affinity})
		add("known", at(p.ClusterIP), verdict{})
		add("cluster", at(p.ClusterIP), goTo(svc))
	} else if p.InternalDrop {
		add("known", at(p.ClusterIP), verdict{})
		add("cluster", at(p.ClusterIP), goTo("drop"))
	}
	for _, ip := range p.OnNode {
		add("hairpin", append(ip.AsSlice(), ip.AsSlice()...), verdict{})
	}
	if p.NodePort == 0 && len(p.External)+len(p.Balanced) == 0 {
		return chains, elems
	}

	if len(p.Cluster) == 0 && len(p.Local) == 0 {
		for _, list := range [][]netip.Addr{p.External, p.Balanced} {
			for _, a := range list {
				add("dead", at(a), refused)
			}
		}
		if p.NodePort != 0 {
			add("deadports", protoPort(key[:], uint8(p.Protocol), p.NodePort), refused)
		}
		return chains, elems
	}
	all := svc
	if !slices.Equal(p.Cluster, p.Internal) {
		all = chainName("all", p.Key)
		more(&chain{name: all, f: f, pick: p.Cluster, affinity: p.Affinity})
	}
	if p.ExternalLocal {
		more(&chain{name: ext, f: f, near: all, pick: p.Local, affinity: p.Affinity, drop: true})
	} else {
		more(&chain{name: ext, f: f, mark: true, to: all})
	}
	for _, a := range p.External {
		add("external", at(a), goTo(ext))
	}
	if len(p.Balanced) > 0 {
		src := chainName("src", p.Key)
		more(&chain{name: src, f: f, sources: p.Sources, to: ext, drop: true})
		for _, a := range p.Balanced {
			add("external", at(a), goTo(src))
		}
	}
	if p.NodePort != 0 {
		add("nodeports", protoPort(key[:], uint8(p.Protocol), p.NodePort), goTo(ext))
	}
	return chains, elems
}

// write appends the chain's rules; the chain is there and empty.
func (c *chain) write(b *batch, cfg Config) {
	t := cfg.Table
	switch {
	case c.endpoint.IsValid():
		b.rule(t, c.name).is(c.f).saddr(c.f, reg0).update(clients(c.name), reg0, uint64(c.affinity.Milliseconds())).done() // fails if the set is full
		v := addrPort(nil, c.endpoint)
		b.rule(t, c.name).load(reg0, v[:c.f.addrLen]...).load(reg0+c.f.addrLen/4, v[c.f.addrLen:c.f.addrLen+2]...).dnat(c.f, reg0, reg0+c.f.addrLen/4).done()
		return
	case c.sources != nil || (c.to != "" && c.drop):
		for _, s := range c.sources {
			b.rule(t, c.name).is(c.f).saddr(c.f, reg0).within(unix.NFT_CMP_EQ, reg0, s).goTo(c.to).done()
		}
		b.rule(t, c.name).verdictDrop().done()
		return
	case c.mark:
		b.rule(t, c.name).jump("mark").done()
	case c.near != "":
		for _, p := range cfg.PodCIDRs {
			if p.Addr().Is6() == c.f.v6 {
				b.rule(t, c.name).is(c.f).saddr(c.f, reg0).within(unix.NFT_CMP_EQ, reg0, p).goTo(c.near).done()
			}
		}
		b.rule(t, c.name).fromLocal().jump("mark").done()
		b.rule(t, c.name).fromLocal().goTo(c.near).done()
	}
	if len(c.pick) > 0 {
		c.writePick(b, t)
	}
	if c.to != "" {
		b.rule(t, c.name).goTo(c.to).done()
	}
	if c.drop {
		b.rule(t, c.name).verdictDrop().done()
	}
}

// writePick appends the rules that choose. The choices themselves are elements of maps that many chains share, by the chain's number
// and a running index, so that an endpoint's coming and going is a change of elements and mostly of the one number drawn from.
func (c *chain) writePick(b *batch, t string) {
	const (
		drawReg   = reg0 + 8
		pickedReg = reg0
	)
	var number [4]byte
	ne.PutUint32(number[:], c.id)
	draw := func(r rule) rule { return r.load(drawReg, number[:]...).random(drawReg+1, uint32(len(c.pick))) }
	if c.affinity == 0 {
		draw(b.rule(t, c.name)).lookup(endpointMap(c.f, c.id), drawReg, pickedReg, false).dnat(c.f, pickedReg, pickedReg+c.f.addrLen/4).done()
		return
	}
	for _, e := range c.places {
		name := c.endpointChain(e)
		b.rule(t, c.name).is(c.f).saddr(c.f, reg0).lookup(clients(name), reg0, noReg, false).goTo(name).done()
	}
	draw(b.rule(t, c.name)).vmap("choices"+c.f.name, drawReg).done()
}

// shards is the number of maps that endpoints are spread over: the kernel checks a new element against every rule that uses its map.
const shards = 32

func endpointMap(f family, id uint32) string {
	return fmt.Sprintf("endpoints%s-%d", f.name, id%shards)
}

// addClients is the set of those who stay with an endpoint, each for a time.
func (b *batch) addClients(t string, c *chain) {
	b.addSet(t, set{name: clients(c.name), flags: unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL, keyType: c.f.addrType, keyLen: c.f.addrLen,
		size: 65535, timeout: uint64(c.affinity.Milliseconds())})
}

// follow gives the chain the places that its predecessor's endpoints have in the kernel: who stays keeps its place, the last ones
// fill the gaps. Without a predecessor the places are in order.
func (c *chain) follow(was *chain) {
	if was == nil {
		c.places = c.pick
		return
	}
	if slices.Equal(was.pick, c.pick) {
		c.places = was.places
		return
	}
	keep := make(map[netip.AddrPort]bool, len(c.pick))
	for _, e := range c.pick {
		keep[e] = true
	}
	places := slices.Clone(was.places)
	for i := 0; i < len(places); {
		if keep[places[i]] {
			delete(keep, places[i])
			i++
			continue
		}
		last := len(places) - 1
		places[i] = places[last]
		places = places[:last]
	}
	for _, e := range c.pick {
		if keep[e] {
			places = append(places, e)
		}
	}
	c.places = places
}

// moves lists what changes in the shared maps from was to c; either may be nil.
func moves(was, c *chain) (del, add []operation) {
	element := func(x *chain, i int) (operation, bool) {
		if x == nil || i >= len(x.places) {
			return operation{}, false
		}
		var key [8]byte
		ne.PutUint32(key[:], x.id)
		ne.PutUint32(key[4:], uint32(i))
		if x.affinity > 0 {
			return operation{elementID{"choices" + x.f.name, string(key[:])}, verdict{unix.NFT_GOTO, x.endpointChain(x.places[i])}, ""}, true
		}
		return operation{elementID{endpointMap(x.f, x.id), string(key[:])}, verdict{}, string(addrPort(nil, x.places[i]))}, true
	}
	count := 0
	for _, x := range []*chain{was, c} {
		if x != nil {
			count = max(count, len(x.places))
		}
	}
	for i := range count {
		o, had := element(was, i)
		n, has := element(c, i)
		if had && has && o == n {
			continue
		}
		if had {
			del = append(del, o)
		}
		if has {
			add = append(add, n)
		}
	}
	return del, add
}
