package proxy

import (
	"net/netip"
	"slices"
)

// Diff is the Changes from one state of a Service to the next. Ports that stay as they are do not appear; removals come first, so
// that an address or node port can pass from one port to another in one step.
func Diff(was, is []*Port) []Change {
	find := func(in []*Port, k Key) *Port {
		if i := slices.IndexFunc(in, func(p *Port) bool { return p.Key == k }); i >= 0 {
			return in[i]
		}
		return nil
	}
	var gone, rest []Change
	for _, o := range was {
		if find(is, o.Key) == nil {
			gone = append(gone, Change{Old: o})
		}
	}
	for _, n := range is {
		if o := find(was, n.Key); o == nil || !o.equal(n) {
			rest = append(rest, Change{o, n})
		}
	}
	return append(gone, rest...)
}

func (p *Port) equal(q *Port) bool {
	return p.Key == q.Key && p.ClusterIP == q.ClusterIP && p.Number == q.Number && p.NodePort == q.NodePort && p.Affinity == q.Affinity &&
		p.ExternalLocal == q.ExternalLocal && p.InternalDrop == q.InternalDrop && slices.Equal(p.External, q.External) &&
		slices.Equal(p.Balanced, q.Balanced) && slices.Equal(p.Sources, q.Sources) && slices.Equal(p.Internal, q.Internal) &&
		slices.Equal(p.Cluster, q.Cluster) && slices.Equal(p.Local, q.Local) && slices.Equal(p.OnNode, q.OnNode)
}

// StaleFlows are the UDP flows to forget after changes: those to endpoints that no longer answer, and those that were let through
// untranslated because nobody answered before.
func StaleFlows(changes []Change) []Stale {
	var out []Stale
	for _, c := range changes {
		if c.Old == nil || c.Old.Protocol != UDP {
			if c.New != nil && c.New.Protocol == UDP && len(c.New.Cluster)+len(c.New.Internal) > 0 {
				out = append(out, ways(c.New, netip.Addr{})...)
			}
			continue
		}
		before, after := answering(c.Old), answering(c.New)
		for _, a := range before {
			if !slices.Contains(after, a) {
				out = append(out, ways(c.Old, a)...)
			}
		}
		if len(before) == 0 && len(after) > 0 {
			out = append(out, ways(c.New, netip.Addr{})...)
		}
	}
	return out
}

func answering(p *Port) []netip.Addr {
	if p == nil {
		return nil
	}
	var out []netip.Addr
	for _, list := range [][]netip.AddrPort{p.Internal, p.Cluster, p.Local} {
		for _, e := range list {
			out = append(out, e.Addr())
		}
	}
	return unique(out)
}

func ways(p *Port, endpoint netip.Addr) []Stale {
	out := []Stale{{p.ClusterIP, p.Number, p.V6, endpoint}}
	for _, list := range [][]netip.Addr{p.External, p.Balanced} {
		for _, a := range list {
			out = append(out, Stale{a, p.Number, p.V6, endpoint})
		}
	}
	if p.NodePort != 0 {
		out = append(out, Stale{netip.Addr{}, p.NodePort, p.V6, endpoint})
	}
	return out
}
