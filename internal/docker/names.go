package docker

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	dc "github.com/moby/moby/api/types/container"

	"nau/internal/engine/container"
	"nau/internal/engine/network"
	"nau/internal/engine/sandbox"
)

// dnsOf is what a container's resolv.conf says. In a user-defined network the network's own server answers names of containers and
// asks on.
func dnsOf(h *dc.HostConfig, nets []attachment) sandbox.DNS {
	d := sandbox.DNS{ServersFirst: true}
	named := slices.ContainsFunc(nets, func(a attachment) bool { return a.net.named() })
	if !named && len(h.DNS) == 0 && len(h.DNSSearch) == 0 && len(h.DNSOptions) == 0 {
		return d // as the host
	}
	host := sandbox.HostDNS()
	if d.Servers, d.Searches, d.Options = host.Servers, host.Searches, host.Options; len(h.DNS) > 0 {
		d.Servers = nil
		for _, a := range h.DNS {
			d.Servers = append(d.Servers, a.String())
		}
	}
	if len(h.DNSSearch) > 0 {
		d.Searches = h.DNSSearch
	}
	if len(h.DNSOptions) > 0 {
		d.Options = h.DNSOptions
	}
	if named {
		d.Servers = []string{network.ResolverAddr.String()}
		d.Options = slices.DeleteFunc(slices.Clone(d.Options), func(o string) bool { return strings.HasPrefix(o, "ndots:") && len(h.DNSOptions) == 0 })
		if !slices.ContainsFunc(d.Options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
			d.Options = append(d.Options, "ndots:0")
		}
	}
	return d
}

// upstreams are the servers that this machine asks.
func upstreams() []string {
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if p := strings.Fields(sc.Text()); len(p) > 1 && p[0] == "nameserver" {
			out = append(out, p[1])
		}
	}
	return out
}

// resolvers answer names of containers: one server inside each sandbox that is in a user-defined network, while it is Ready. It tells
// what the networks of its own sandbox know and nothing else, and asks on for all other names.
type resolvers struct {
	s   *Server
	mu  sync.Mutex
	all map[string][]*dns.Server // sandbox → UDP and TCP
}

func newResolvers(s *Server) *resolvers { return &resolvers{s: s, all: map[string][]*dns.Server{}} }

// joined serves a sandbox if it is in a user-defined network, and stops if it is in none any more.
func (r *resolvers) joined(id string) error {
	sb, err := r.s.e.Sandboxes.Get(id)
	if err != nil {
		return err
	}
	named := sb.State == sandbox.Ready && slices.ContainsFunc(sb.Endpoints, func(e endpoint) bool {
		n, err := r.s.network(e.Network)
		return err == nil && n.named()
	})
	if !named {
		r.left(id)
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all[id]) > 0 {
		return nil
	}
	ns, err := os.Open(r.s.e.Sandboxes.NetnsPath(id))
	if err != nil {
		return fmt.Errorf("serve names in sandbox %s: %w", id, err)
	}
	defer ns.Close()
	packets, listener, err := network.ListenResolver(ns, r.s.e.Config().Instance)
	if err != nil {
		return fmt.Errorf("serve names in sandbox %s: %w", id, err)
	}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { r.answer(id, w, q) })
	servers := []*dns.Server{{PacketConn: packets, Handler: h}, {Listener: listener, Handler: h}}
	for _, srv := range servers {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() { _ = srv.ActivateAndServe() }()
		<-started // a server that is shut down before it started would run for ever
	}
	r.all[id] = servers
	return nil
}

// left stops serving a sandbox: its namespace can go.
func (r *resolvers) left(id string) {
	r.mu.Lock()
	servers := r.all[id]
	delete(r.all, id)
	r.mu.Unlock()
	for _, srv := range servers {
		_ = srv.Shutdown()
	}
}

func (r *resolvers) close() {
	r.mu.Lock()
	all := r.all
	r.all = map[string][]*dns.Server{}
	r.mu.Unlock()
	for _, servers := range all {
		for _, srv := range servers {
			_ = srv.Shutdown()
		}
	}
}

// answer answers one question of a sandbox: names in its networks here, all else from the machine's servers.
func (r *resolvers) answer(id string, w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		m := new(dns.Msg)
		m.SetRcode(q, dns.RcodeFormatError)
		_ = w.WriteMsg(m)
		return
	}
	ask := q.Question[0]
	name := strings.ToLower(strings.TrimSuffix(ask.Name, "."))
	if addrs, known := r.lookup(id, name); known {
		m := new(dns.Msg)
		m.SetReply(q)
		m.RecursionAvailable = true
		for _, a := range addrs {
			head := dns.RR_Header{Name: ask.Name, Class: dns.ClassINET, Ttl: 600}
			switch {
			case ask.Qtype == dns.TypeA && a.Is4():
				head.Rrtype = dns.TypeA
				m.Answer = append(m.Answer, &dns.A{Hdr: head, A: a.AsSlice()})
			case ask.Qtype == dns.TypeAAAA && a.Is6():
				head.Rrtype = dns.TypeAAAA
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
			}
		}
		_ = w.WriteMsg(m)
		return
	}
	if ask.Qtype == dns.TypePTR {
		if host := r.reverse(id, name); host != "" {
			m := new(dns.Msg)
			m.SetReply(q)
			m.RecursionAvailable = true
			m.Answer = append(m.Answer, &dns.PTR{Hdr: dns.RR_Header{Name: ask.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: 600}, Ptr: dns.Fqdn(host)})
			_ = w.WriteMsg(m)
			return
		}
	}
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	for _, server := range r.upstreams(id) {
		client := &dns.Client{Timeout: 4 * time.Second}
		if tcp {
			client.Net = "tcp"
		}
		ctx, cancel := context.WithTimeout(r.s.life, 4*time.Second)
		m, _, err := client.ExchangeContext(ctx, q, net.JoinHostPort(server, "53"))
		cancel()
		if err == nil {
			_ = w.WriteMsg(m)
			return
		}
	}
	m := new(dns.Msg)
	m.SetRcode(q, dns.RcodeServerFailure)
	if !strings.Contains(name, ".") {
		m.SetRcode(q, dns.RcodeNameError)
	}
	_ = w.WriteMsg(m)
}

// upstreams are the servers that a sandbox's container was given, else the machine's. A sandbox without a way out gets no answer from outside.
func (r *resolvers) upstreams(id string) []string {
	sb, err := r.s.e.Sandboxes.Get(id)
	if err != nil || r.s.e.Networks.Leading(sb.Endpoints, false) < 0 && r.s.e.Networks.Leading(sb.Endpoints, true) < 0 {
		return nil
	}
	if c := r.owner(id); c != nil {
		var out []string
		for _, a := range load(c).Host.DNS {
			out = append(out, a.String())
		}
		if len(out) > 0 {
			return out
		}
	}
	return upstreams()
}

// owner is the container that a sandbox was made for.
func (r *resolvers) owner(id string) *container.Record {
	for _, c := range r.s.e.Containers.In(id) {
		if c.Config.Origin == Origin && load(c).Own {
			return c
		}
	}
	return nil
}

// lookup finds the addresses of a name in a sandbox's networks. known is true for a name that exists, even without an address of the family.
// Several containers may share a name: their addresses come in an order of chance, so that clients spread over them.
func (r *resolvers) lookup(id, name string) (addrs []netip.Addr, known bool) {
	asker, err := r.s.e.Sandboxes.Get(id)
	if err != nil {
		return nil, false
	}
	links := map[string]string{} // network + container → alias
	if c := r.owner(id); c != nil {
		for net, e := range load(c).Networks {
			for _, l := range e.Links {
				target, alias, _ := strings.Cut(l, ":")
				if strings.EqualFold(alias, name) {
					links[net+" "+strings.TrimPrefix(target, "/")] = alias
				}
			}
		}
	}
	short := r.shortened(asker, name)
	for _, c := range r.s.e.Containers.List() {
		if c.Config.Origin != Origin || !running(c) {
			continue
		}
		sb, err := r.s.e.Sandboxes.Get(c.Config.Sandbox)
		if err != nil || sb.State != sandbox.Ready || !load(c).Own {
			continue
		}
		for _, a := range sb.Config.Networks {
			if len(a.Aliases) == 0 || !slices.ContainsFunc(asker.Endpoints, func(e endpoint) bool { return e.Network == a.Network }) {
				continue
			}
			if !called(c, sb, a, name) && (short[a.Network] == "" || !called(c, sb, a, short[a.Network])) && links[a.Network+" "+c.Config.Name] == "" && links[a.Network+" "+c.ID] == "" && links[a.Network+" "+c.ID[:12]] == "" {
				continue
			}
			known = true
			for _, v6 := range []bool{false, true} {
				if ip := sb.Addr(a.Network, v6); ip.IsValid() && !slices.Contains(addrs, ip) {
					addrs = append(addrs, ip)
				}
			}
		}
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return addrs, known
}

// called reports whether a container goes by a name in one of its networks: its own, the beginning of its ID, its host name, an alias.
func called(c *container.Record, sb *sandbox.Record, a sandbox.Attachment, name string) bool {
	return strings.EqualFold(c.Config.Name, name) || len(name) >= 12 && strings.HasPrefix(c.ID, name) || strings.EqualFold(sb.Config.Hostname, name) ||
		slices.ContainsFunc(a.Aliases[min(1, len(a.Aliases)):], func(x string) bool { return strings.EqualFold(x, name) })
}

// shortened gives a name without the network that follows it ("web.backend" in the network backend), by the asker's networks that it fits.
func (r *resolvers) shortened(asker *sandbox.Record, name string) map[string]string {
	short := map[string]string{}
	if !strings.Contains(name, ".") {
		return short
	}
	for _, e := range asker.Endpoints {
		n, err := r.s.network(e.Network)
		if err != nil || n.Name == "" {
			continue
		}
		if cut := len(name) - len(n.Name) - 1; cut > 0 && strings.EqualFold(name[cut:], "."+n.Name) {
			short[e.Network] = name[:cut]
		}
	}
	return short
}

// reverse finds the name of an address in a sandbox's networks; a name is followed by its network's.
func (r *resolvers) reverse(id, arpa string) string {
	asker, err := r.s.e.Sandboxes.Get(id)
	if err != nil {
		return ""
	}
	for _, c := range r.s.e.Containers.List() {
		sb, err := r.s.e.Sandboxes.Get(c.Config.Sandbox)
		if err != nil || sb.State != sandbox.Ready || c.Config.Origin != Origin || !load(c).Own {
			continue
		}
		for _, e := range asker.Endpoints {
			n, err := r.s.network(e.Network)
			if err != nil || !n.named() {
				continue
			}
			for _, v6 := range []bool{false, true} {
				if ip := sb.Addr(e.Network, v6); ip.IsValid() {
					if rev, err := dns.ReverseAddr(ip.String()); err == nil && strings.TrimSuffix(rev, ".") == arpa {
						return c.Config.Name + "." + n.Name
					}
				}
			}
		}
	}
	return ""
}
