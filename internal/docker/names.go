package docker

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	dc "github.com/moby/moby/api/types/container"

	"nau/internal/engine/sandbox"
)

// dnsOf is what a container's resolv.conf says. In a user-defined network the network's own server answers names of containers and
// asks on.
func dnsOf(h *dc.HostConfig, nets []attachment) sandbox.DNS {
	var servers []string
	for _, a := range h.DNS {
		servers = append(servers, a.String())
	}
	for _, n := range nets {
		if n.net.named() {
			if gw := n.net.gateway(false); gw.IsValid() {
				return sandbox.DNS{Servers: []string{gw.String()}, Searches: h.DNSSearch, Options: append([]string{"ndots:0"}, h.DNSOptions...)}
			}
		}
	}
	if len(servers) == 0 && len(h.DNSSearch) == 0 && len(h.DNSOptions) == 0 {
		return sandbox.DNS{}
	}
	if len(servers) == 0 {
		servers = upstreams()
	}
	return sandbox.DNS{Servers: servers, Searches: h.DNSSearch, Options: h.DNSOptions}
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

// resolvers answer names of containers, one server at each user-defined network's gateway, while the network has members.
type resolvers struct {
	s   *Server
	mu  sync.Mutex
	all map[string][]*dns.Server // network → UDP and TCP
}

func newResolvers(s *Server) *resolvers { return &resolvers{s: s, all: map[string][]*dns.Server{}} }

// joined makes sure that the networks of a sandbox are served.
func (r *resolvers) joined(id string) error {
	sb, err := r.s.e.Sandboxes.Get(id)
	if err != nil {
		return err
	}
	for _, e := range sb.Endpoints {
		n, err := r.s.network(e.Network)
		if err != nil || !n.named() {
			continue
		}
		if err := r.serve(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolvers) serve(n net_) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all[n.spec.Name]) > 0 {
		return nil
	}
	at := netip.AddrPortFrom(n.gateway(false), 53).String()
	packets, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", at)
	if err != nil {
		packets.Close()
		return err
	}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { r.answer(n.spec.Name, w, q) })
	servers := []*dns.Server{{PacketConn: packets, Handler: h}, {Listener: listener, Handler: h}}
	for _, srv := range servers {
		go func() { _ = srv.ActivateAndServe() }()
	}
	r.all[n.spec.Name] = servers
	return nil
}

// left stops serving networks that lost their last member with the sandbox.
func (r *resolvers) left(id string) {
	sb, err := r.s.e.Sandboxes.Get(id)
	if err != nil {
		return
	}
	for _, e := range sb.Endpoints {
		if !slices.ContainsFunc(r.s.e.Sandboxes.Endpoints(), func(o endpoint) bool { return o.Network == e.Network && o.Sandbox != id }) {
			r.drop(e.Network)
		}
	}
}

func (r *resolvers) drop(network string) {
	r.mu.Lock()
	servers := r.all[network]
	delete(r.all, network)
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

// answer answers one question: names of the network's members here, all else from the machine's servers.
func (r *resolvers) answer(network string, w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		m := new(dns.Msg)
		m.SetRcode(q, dns.RcodeFormatError)
		_ = w.WriteMsg(m)
		return
	}
	ask := q.Question[0]
	name := strings.ToLower(strings.TrimSuffix(ask.Name, "."))
	if addrs, known := r.lookup(network, name); known {
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
		if host := r.reverse(network, name); host != "" {
			m := new(dns.Msg)
			m.SetReply(q)
			m.RecursionAvailable = true
			m.Answer = append(m.Answer, &dns.PTR{Hdr: dns.RR_Header{Name: ask.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: 600}, Ptr: dns.Fqdn(host)})
			_ = w.WriteMsg(m)
			return
		}
	}
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	for _, server := range r.upstreams(w.RemoteAddr()) {
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

// upstreams are the servers that the asking container was given, else the machine's.
func (r *resolvers) upstreams(from net.Addr) []string {
	addr, err := netip.ParseAddrPort(from.String())
	if err == nil {
		for _, c := range r.s.e.Containers.List() {
			if c.Config.Origin != Origin {
				continue
			}
			sb, err := r.s.e.Sandboxes.Get(c.Config.Sandbox)
			if err != nil || sb.State != sandbox.Ready || !slices.Contains(sb.Addrs(), addr.Addr().Unmap()) {
				continue
			}
			var out []string
			for _, a := range load(c).Host.DNS {
				out = append(out, a.String())
			}
			if len(out) > 0 {
				return out
			}
		}
	}
	return upstreams()
}

// lookup finds the addresses of a name in a network. known is true for a name that exists, even without an address of the family.
func (r *resolvers) lookup(network, name string) (addrs []netip.Addr, known bool) {
	for _, c := range r.s.e.Containers.List() {
		if c.Config.Origin != Origin || !running(c) {
			continue
		}
		sb, err := r.s.e.Sandboxes.Get(c.Config.Sandbox)
		if err != nil || sb.State != sandbox.Ready {
			continue
		}
		for _, a := range sb.Config.Networks {
			if a.Network != network {
				continue
			}
			match := strings.EqualFold(c.Config.Name, name) || len(name) >= 12 && strings.HasPrefix(c.ID, name) || strings.EqualFold(sb.Config.Hostname, name) ||
				slices.ContainsFunc(a.Aliases[min(1, len(a.Aliases)):], func(x string) bool { return strings.EqualFold(x, name) })
			if !match {
				continue
			}
			known = true
			for _, v6 := range []bool{false, true} {
				if ip := sb.Addr(network, v6); ip.IsValid() {
					addrs = append(addrs, ip)
				}
			}
		}
	}
	return addrs, known
}

// reverse finds the name of an address in a network.
func (r *resolvers) reverse(network, arpa string) string {
	for _, c := range r.s.e.Containers.List() {
		sb, err := r.s.e.Sandboxes.Get(c.Config.Sandbox)
		if err != nil || sb.State != sandbox.Ready || c.Config.Origin != Origin {
			continue
		}
		for _, v6 := range []bool{false, true} {
			if ip := sb.Addr(network, v6); ip.IsValid() {
				if rev, err := dns.ReverseAddr(ip.String()); err == nil && strings.TrimSuffix(rev, ".") == arpa {
					return c.Config.Name
				}
			}
		}
	}
	return ""
}
