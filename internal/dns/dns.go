// Package dns answers the cluster's names on each node, as the Kubernetes DNS
// specification 1.1 says, and forwards all others to the host's resolvers with a
// bounded cache. It listens on the DNS service's address, which every node has
// on its loopback, so that a pod's question never leaves its machine.
//
// The zone is kept by small changes from informers; a question is a look-up.
// internal/cluster wires it; it sees the cluster through client-go only.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Config is what the server needs; the caller starts the factory.
type Config struct {
	Informers informers.SharedInformerFactory
	Domain    string   // "" is cluster.local
	Listen    []string // IP:PORT, each for UDP and TCP
	// Upstreams are HOST:PORT of resolvers for other names; nil reads ResolvConf,
	// and reads it again when it changes.
	Upstreams  []string
	ResolvConf string // "" is /etc/resolv.conf
	Log        *slog.Logger
}

// Server is the DNS server.
type Server struct {
	config  Config
	zone    *zone
	forward *forwarder
	synced  []cache.InformerSynced
	ready   chan struct{} // closed when the first lists have arrived
	waiting atomic.Int32  // questions that wait for that
}

const (
	// patience is how long a question about the cluster waits for the first lists: less than any resolver does before it asks again.
	patience = 2 * time.Second
	// crowd is how many may wait; more are answered at once that we cannot tell.
	crowd = 1024
)

// New makes the server and registers its event handlers.
func New(c Config) (*Server, error) {
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	own := map[netip.Addr]bool{}
	for _, address := range c.Listen {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, fmt.Errorf("listen for DNS on %q: %w", address, err)
		}
		own[a.Addr()] = true
	}
	s := &Server{config: c, zone: newZone(c.Domain), forward: newForwarder(c.Upstreams, c.ResolvConf, own), ready: make(chan struct{})}
	if c.Informers == nil {
		return s, nil
	}
	return s, s.follow()
}

// Run answers until ctx ends. It listens at once: questions about the cluster
// wait for the first lists, and are SERVFAIL when those do not arrive.
func (s *Server) Run(ctx context.Context) error {
	var servers []*dns.Server
	failed := make(chan error, 2*len(s.config.Listen))
	for _, address := range s.config.Listen {
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			return errors.Join(fmt.Errorf("listen for DNS: %w", err), shutdown(servers))
		}
		servers = append(servers, &dns.Server{PacketConn: packets, Handler: s, UDPSize: 4096})
		listener, err := net.Listen("tcp", address)
		if err != nil {
			packets.Close()
			return errors.Join(fmt.Errorf("listen for DNS: %w", err), shutdown(servers))
		}
		servers = append(servers, &dns.Server{Listener: listener, Handler: s, IdleTimeout: func() time.Duration { return 8 * time.Second }, MaxTCPQueries: 1000})
	}
	for _, server := range servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { failed <- server.ActivateAndServe() }()
		select {
		case <-started:
		case err := <-failed:
			return errors.Join(fmt.Errorf("serve DNS: %w", err), shutdown(servers))
		}
	}
	if cache.WaitForCacheSync(ctx.Done(), s.synced...) {
		close(s.ready)
	}
	select {
	case <-ctx.Done():
		return shutdown(servers)
	case err := <-failed:
		return errors.Join(fmt.Errorf("serve DNS: %w", err), shutdown(servers))
	}
}

func shutdown(servers []*dns.Server) error {
	for _, server := range servers {
		// A server that has not started yet says so; its sockets are closed below.
		if err := server.Shutdown(); err == nil {
			continue
		}
		if server.PacketConn != nil {
			server.PacketConn.Close()
		}
		if server.Listener != nil {
			server.Listener.Close()
		}
	}
	return nil
}

// ServeDNS answers one message.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	answer := s.Answer(q)
	size := dns.MaxMsgSize
	if w.RemoteAddr().Network() == "udp" {
		size = dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
	}
	answer.Truncate(min(size, 4096))
	if err := w.WriteMsg(answer); err != nil {
		s.config.Log.Debug("write DNS answer", "to", w.RemoteAddr(), "error", err)
	}
}

// Answer is the answer to a message.
func (s *Server) Answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if opt := q.IsEdns0(); opt != nil {
		if opt.Version() != 0 {
			m.SetEdns0(4096, false)
			m.Rcode = dns.RcodeBadVers
			return m
		}
		m.SetEdns0(4096, opt.Do())
	}
	if q.Opcode != dns.OpcodeQuery {
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	if len(q.Question) != 1 || q.Response {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	question := q.Question[0]
	if question.Qclass != dns.ClassINET && question.Qclass != dns.ClassANY {
		m.Rcode = dns.RcodeRefused
		return m
	}
	switch where := s.zone.locate(question.Name); {
	case where == elsewhere || where == reverse && !s.zone.hasReverse(question.Name):
		s.forward.answer(m, question)
	case !s.settled():
		m.Rcode = dns.RcodeServerFailure
	default:
		s.zone.answer(m, question, s.forward)
	}
	return m
}

// settled waits until the cluster is known, for a moment at most.
func (s *Server) settled() bool {
	select {
	case <-s.ready:
		return true
	default:
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > crowd {
		return false
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-s.ready:
		return true
	case <-late.C:
		return false
	}
}
