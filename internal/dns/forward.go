package dns

import (
	"container/list"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// Bounds of the cache of other people's names.
const (
	mostAnswers  = 8192
	longest      = time.Hour
	longestNo    = 5 * time.Minute
	askTimeout   = 2 * time.Second
	confInterval = 5 * time.Second // how often, at most, resolv.conf is looked at for a change
)

// forwarder asks the host's resolvers and remembers their answers.
type forwarder struct {
	fixed []string
	conf  string
	own   map[netip.Addr]bool // addresses of our own, never asked
	now   func() time.Time

	flight singleflight.Group

	mu       sync.Mutex
	servers  []string
	looked   time.Time
	modified time.Time
	answers  map[key]*list.Element
	recent   list.List // of *remembered, the latest used first
}

type key struct {
	name string
	kind uint16
}

type remembered struct {
	key   key
	msg   *dns.Msg
	since time.Time
	until time.Time
}

func newForwarder(fixed []string, conf string, own map[netip.Addr]bool) *forwarder {
	return &forwarder{fixed: fixed, conf: conf, own: own, now: time.Now, answers: map[key]*list.Element{}}
}

// answer fills m with the answer to q.
func (f *forwarder) answer(m *dns.Msg, q dns.Question) {
	k := key{strings.ToLower(q.Name), q.Qtype}
	if f.recall(m, k, q.Name) {
		return
	}
	got, err, _ := f.flight.Do(k.name+" "+dns.TypeToString[k.kind], func() (any, error) { return f.ask(q) })
	if err != nil {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	reply := got.(*dns.Msg)
	f.remember(k, reply)
	fill(m, reply, q.Name, 0)
}

// fill copies a reply's sections, with the question's spelling of the name and
// the age taken off the times to live.
func fill(m, reply *dns.Msg, name string, age uint32) {
	m.Rcode = reply.Rcode
	section := func(all []dns.RR) []dns.RR {
		var out []dns.RR
		for _, rr := range all {
			if rr.Header().Rrtype == dns.TypeOPT {
				continue
			}
			c := dns.Copy(rr)
			h := c.Header()
			if strings.EqualFold(h.Name, name) {
				h.Name = name
			}
			h.Ttl -= min(age, h.Ttl)
			out = append(out, c)
		}
		return out
	}
	m.Answer = append(m.Answer, section(reply.Answer)...)
	m.Ns = append(m.Ns, section(reply.Ns)...)
	m.Extra = append(m.Extra, section(reply.Extra)...)
}

// ask asks the resolvers in turn; what does not fit a packet is asked by TCP.
func (f *forwarder) ask(q dns.Question) (*dns.Msg, error) {
	query := new(dns.Msg)
	query.SetQuestion(q.Name, q.Qtype)
	query.SetEdns0(4096, false)
	var last error = &net.DNSError{Err: "no resolver to forward to", Name: q.Name}
	var poor *dns.Msg
	for _, server := range f.upstreams() {
		for _, network := range []string{"udp", "tcp"} {
			client := dns.Client{Net: network, Timeout: askTimeout, UDPSize: 4096}
			reply, _, err := client.Exchange(query, server)
			if err != nil {
				last = err
				break
			}
			if reply.Truncated && network == "udp" {
				continue
			}
			if reply.Rcode == dns.RcodeServerFailure || reply.Rcode == dns.RcodeRefused {
				poor = reply
				break // the next one may know
			}
			return reply, nil
		}
	}
	if poor != nil {
		return poor, nil
	}
	return nil, last
}

// upstreams are the resolvers, read anew where the file has changed.
func (f *forwarder) upstreams() []string {
	if len(f.fixed) > 0 {
		return f.fixed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if !f.looked.IsZero() && now.Sub(f.looked) < confInterval {
		return f.servers
	}
	f.looked = now
	info, err := os.Stat(f.conf)
	if err != nil || info.ModTime().Equal(f.modified) {
		return f.servers
	}
	f.modified = info.ModTime()
	config, err := dns.ClientConfigFromFile(f.conf)
	if err != nil {
		return f.servers
	}
	f.servers = nil
	for _, server := range config.Servers {
		if a, err := netip.ParseAddr(server); err == nil && !f.own[a] {
			f.servers = append(f.servers, net.JoinHostPort(server, config.Port))
		}
	}
	return f.servers
}

func (f *forwarder) recall(m *dns.Msg, k key, name string) bool {
	f.mu.Lock()
	element := f.answers[k]
	if element == nil {
		f.mu.Unlock()
		return false
	}
	r := element.Value.(*remembered)
	now := f.now()
	if !now.Before(r.until) {
		f.recent.Remove(element)
		delete(f.answers, k)
		f.mu.Unlock()
		return false
	}
	f.recent.MoveToFront(element)
	f.mu.Unlock()
	fill(m, r.msg, name, uint32(now.Sub(r.since)/time.Second))
	return true
}

func (f *forwarder) remember(k key, reply *dns.Msg) {
	life := lifetime(reply)
	if life <= 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.answers[k]; old != nil {
		f.recent.Remove(old)
	}
	now := f.now()
	f.answers[k] = f.recent.PushFront(&remembered{k, reply, now, now.Add(life)})
	if f.recent.Len() > mostAnswers {
		oldest := f.recent.Back()
		f.recent.Remove(oldest)
		delete(f.answers, oldest.Value.(*remembered).key)
	}
}

// lifetime is how long an answer may be remembered: its shortest time to live;
// for a "no", what the zone's SOA says (RFC 2308, section 5).
func lifetime(reply *dns.Msg) time.Duration {
	switch {
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return 0
	case len(reply.Answer) == 0 || reply.Rcode == dns.RcodeNameError:
		for _, rr := range reply.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				return min(time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second, longestNo)
			}
		}
		return 0
	}
	shortest := longest
	for _, rr := range reply.Answer {
		shortest = min(shortest, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return shortest
}
