package dns

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

// ttl of the cluster's records, in seconds (the specification's example, and
// CoreDNS's default).
const ttl = 5

// zone holds the cluster's names. Names are kept in lower case with the closing
// dot. A service's names are replaced as a whole when it or its endpoints change.
type zone struct {
	origin string // "cluster.local."
	turn   atomic.Uint32

	mu       sync.RWMutex
	names    map[string]*node
	owned    map[string][]owned // service "ns/name" → what it put in
	reverses map[string]map[string]string
	spaces   map[string]bool // namespaces
}

// node is one name: its records, and how many names below it exist.
type node struct {
	addresses []netip.Addr
	services  []srv
	alias     string // CNAME target
	text      []string
	refs      int // owners that put something in here, or below here
}

type srv struct {
	port   uint16
	target string
}

// owned is one thing that a service put into the zone.
type owned struct {
	name string
	node node
	ptr  string // for a reverse name: where it points
}

func newZone(domain string) *zone {
	z := &zone{
		origin:   dns.Fqdn(strings.ToLower(domain)),
		names:    map[string]*node{},
		owned:    map[string][]owned{},
		reverses: map[string]map[string]string{},
		spaces:   map[string]bool{},
	}
	for _, name := range []string{"", "svc.", "pod."} {
		z.names[name+z.origin] = &node{refs: 1}
	}
	z.names["dns-version."+z.origin] = &node{refs: 1, text: []string{"1.1.0"}}
	return z
}

type place int

const (
	elsewhere place = iota
	inside
	reverse
)

func (z *zone) locate(name string) place {
	if len(name) >= len(z.origin) && strings.EqualFold(name[len(name)-len(z.origin):], z.origin) &&
		(len(name) == len(z.origin) || name[len(name)-len(z.origin)-1] == '.') {
		return inside
	}
	lower := strings.ToLower(name)
	if strings.HasSuffix(lower, ".in-addr.arpa.") || strings.HasSuffix(lower, ".ip6.arpa.") {
		return reverse
	}
	return elsewhere
}

func (z *zone) hasReverse(name string) bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return len(z.reverses[strings.ToLower(name)]) > 0
}

// replace puts a service's names in the place of those it had.
func (z *zone) replace(owner string, now []owned) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, o := range z.owned[owner] {
		if o.ptr != "" {
			delete(z.reverses[o.name], owner)
			if len(z.reverses[o.name]) == 0 {
				delete(z.reverses, o.name)
			}
			continue
		}
		z.release(o.name)
	}
	if len(now) == 0 {
		delete(z.owned, owner)
		return
	}
	z.owned[owner] = now
	for _, o := range now {
		if o.ptr != "" {
			if z.reverses[o.name] == nil {
				z.reverses[o.name] = map[string]string{}
			}
			z.reverses[o.name][owner] = o.ptr
			continue
		}
		z.hold(o)
	}
}

// hold puts records at a name; the names above it come to exist with it.
func (z *zone) hold(o owned) {
	for name := o.name; len(name) > len(z.origin); {
		n := z.names[name]
		if n == nil {
			n = &node{}
			z.names[name] = n
		}
		n.refs++
		_, name, _ = strings.Cut(name, ".")
	}
	n := z.names[o.name]
	refs := n.refs
	*n = o.node
	n.refs = refs
}

func (z *zone) release(name string) {
	if n := z.names[name]; n != nil {
		*n = node{refs: n.refs}
	}
	for ; len(name) > len(z.origin); _, name, _ = strings.Cut(name, ".") {
		n := z.names[name]
		if n == nil {
			continue
		}
		if n.refs--; n.refs <= 0 {
			delete(z.names, name)
		}
	}
}

func (z *zone) setNamespace(name string, there bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if there == z.spaces[name] {
		return
	}
	for _, kind := range []string{".svc.", ".pod."} {
		if there {
			z.hold(owned{name: name + kind + z.origin, node: z.at(name + kind + z.origin)})
		} else {
			z.release(name + kind + z.origin)
		}
	}
	if there {
		z.spaces[name] = true
	} else {
		delete(z.spaces, name)
	}
}

func (z *zone) at(name string) node {
	if n := z.names[name]; n != nil {
		return *n
	}
	return node{}
}

// answer answers a question about a name of the zone or a reverse name in it.
func (z *zone) answer(m *dns.Msg, q dns.Question, outside *forwarder) {
	m.Authoritative = true
	name := strings.ToLower(q.Name)
	z.mu.RLock()
	defer z.mu.RUnlock()
	if ptrs := z.reverses[name]; len(ptrs) > 0 {
		if q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY {
			for _, ptr := range ptrs {
				m.Answer = append(m.Answer, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: ptr})
			}
			return
		}
		m.Ns = append(m.Ns, z.soa())
		return
	}
	n, ok := z.names[name]
	if !ok {
		if addr, ok := z.podAddress(name); ok {
			z.addresses(m, q, []netip.Addr{addr})
		} else {
			m.Rcode = dns.RcodeNameError
		}
	} else {
		z.records(m, q, n, outside)
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, z.soa())
	}
}

func (z *zone) records(m *dns.Msg, q dns.Question, n *node, outside *forwarder) {
	if n.alias != "" {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: n.alias})
		if q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA {
			z.chase(m, n.alias, q.Qtype, outside)
		}
		return
	}
	z.addresses(m, q, n.addresses)
	if q.Qtype == dns.TypeSRV || q.Qtype == dns.TypeANY {
		weight := uint16(100)
		if len(n.services) > 1 {
			weight = uint16(max(1, 100/len(n.services)))
		}
		for _, s := range n.services {
			m.Answer = append(m.Answer, &dns.SRV{Hdr: header(q.Name, dns.TypeSRV), Priority: 0, Weight: weight, Port: s.port, Target: s.target})
			if target := z.names[s.target]; target != nil {
				for _, a := range target.addresses {
					m.Extra = append(m.Extra, record(s.target, a))
				}
			}
		}
	}
	if q.Qtype == dns.TypeTXT && len(n.text) > 0 {
		m.Answer = append(m.Answer, &dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: n.text})
	}
	if q.Name == z.origin && q.Qtype == dns.TypeSOA {
		m.Answer = append(m.Answer, z.soa())
	}
}

// chase follows an alias, inside the zone or out.
func (z *zone) chase(m *dns.Msg, target string, kind uint16, outside *forwarder) {
	if z.locate(target) == inside {
		if n := z.names[strings.ToLower(target)]; n != nil {
			z.addresses(m, dns.Question{Name: target, Qtype: kind}, n.addresses)
		}
		return
	}
	if outside == nil {
		return
	}
	sub := new(dns.Msg)
	z.mu.RUnlock() // asking others may take seconds
	outside.answer(sub, dns.Question{Name: target, Qtype: kind, Qclass: dns.ClassINET})
	z.mu.RLock()
	m.Answer = append(m.Answer, sub.Answer...)
}

// addresses adds the addresses of the kind that is asked for, each time from
// another one on.
func (z *zone) addresses(m *dns.Msg, q dns.Question, all []netip.Addr) {
	if q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA && q.Qtype != dns.TypeANY {
		return
	}
	first := 0
	if len(all) > 1 {
		first = int(z.turn.Add(1) % uint32(len(all)))
	}
	for i := range all {
		a := all[(first+i)%len(all)]
		if q.Qtype == dns.TypeANY || a.Is4() == (q.Qtype == dns.TypeA) {
			m.Answer = append(m.Answer, record(q.Name, a))
		}
	}
}

// podAddress reads the address out of a pod's name, 10-42-0-7.NAMESPACE.pod.
func (z *zone) podAddress(name string) (netip.Addr, bool) {
	rest, ok := strings.CutSuffix(name, ".pod."+z.origin)
	if !ok {
		return netip.Addr{}, false
	}
	dashed, namespace, ok := strings.Cut(rest, ".")
	if !ok || !z.spaces[namespace] {
		return netip.Addr{}, false
	}
	for _, separator := range []string{".", ":"} {
		if a, err := netip.ParseAddr(strings.ReplaceAll(dashed, "-", separator)); err == nil && a.Zone() == "" {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (z *zone) soa() *dns.SOA {
	h := header(z.origin, dns.TypeSOA)
	return &dns.SOA{Hdr: h, Ns: "ns.dns." + z.origin, Mbox: "hostmaster." + z.origin, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func record(name string, a netip.Addr) dns.RR {
	if a.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA), A: a.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: a.AsSlice()}
}
