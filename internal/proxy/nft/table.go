// Package nft is the service proxy's backend on nftables: it keeps one table of its own, by netlink, without the nft program.
//
// It knows rules, not Services: package proxy decides. Only cluster wires it in.
//
// # The table
//
// Packets meet fixed chains that never change, which look keys up in maps; a service port owns a chain or two and a few map elements.
// A change of one service is one transaction about its own objects.
//
//	filter-prerouting, filter-output (just before NAT)
//	    new connections only → dead4/dead6:
//	        vmap @dead (address . protocol . port), @deadports (protocol . port, to the node itself) → refuse
//	        to a service range, not to an address of the node, and not in @known → refuse (TCP reset, or ICMP port unreachable)
//	nat-prerouting, nat-output → services4/services6:
//	        to a service range from outside the pod ranges: mark for masquerading
//	        vmap @cluster (cluster IP . protocol . port)       → svc-NAMESPACE/NAME/PORT/PROTOCOL
//	        vmap @external (address . protocol . port)         → ext-… or, with source ranges, src-…
//	        vmap @nodeports (protocol . port, to the node)     → ext-…
//	nat-postrouting
//	        marked: masquerade; source = translated destination (@hairpin): masquerade
//	raw-prerouting: packets to 127.0.0.0/8 from outside are dropped (only if the node's own loopback may use node ports)
//
// A svc chain is one rule: draw a number, look up @endpoints… (chain's number . number drawn), translate. With session affinity every
// endpoint has a chain of its own and a set of the clients that stay with it, each with a time to live; the svc chain asks those sets first
// and draws for strangers. An endpoint that goes takes its set along, and its clients are strangers again.
//
// There are no anonymous sets: the kernel finds names for those by looking at all sets there are, each time.
package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"nau/internal/proxy"
)

// Config says where the table stands and what the node's networks are.
type Config struct {
	Table        string // of this instance, "nau-services" by default
	ServiceCIDRs []netip.Prefix
	PodCIDRs     []netip.Prefix // of the whole cluster: from there, cluster IPs are reached without masquerading
	// Mark is the bit in the packet's mark that asks for masquerading; 0x4000 by default.
	Mark uint32
	// Loopback lets the host itself reach node ports at 127.0.0.1; it needs route_localnet on the interface towards the pods, see
	// RouteLoopback.
	Loopback bool
}

// Table is the backend. It is safe for concurrent use.
type Table struct {
	cfg       Config
	disturbed chan struct{}
	mon       *monitor

	mu     sync.Mutex
	sock   *socket
	chains map[string]*chain   // what the kernel has
	slots  map[elementID]*slot // map elements, and who wants them
	lastID uint32              // of chains in the shared maps
	broken bool                // a transaction failed: only Replace helps
}

// Open makes the backend in the network namespace of the calling thread. It programs nothing yet.
func Open(cfg Config) (*Table, error) {
	if cfg.Table == "" {
		cfg.Table = "nau-services"
	}
	if cfg.Mark == 0 {
		cfg.Mark = 0x4000
	}
	sock, err := dial()
	if err != nil {
		return nil, err
	}
	t := &Table{cfg: cfg, sock: sock, disturbed: make(chan struct{}, 1)}
	if t.mon, err = watch(cfg.Table, sock.port, t.disturb); err != nil {
		sock.Close()
		return nil, err
	}
	return t, nil
}

// Close ends the backend and leaves the table in place: connections go on while nau restarts.
func (t *Table) Close() error {
	t.mon.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sock.Close()
}

// Delete removes the table from the kernel, and is content if there is none.
func Delete(table string) error {
	sock, err := dial()
	if err != nil {
		return err
	}
	defer sock.Close()
	b := newBatch(sock.seq)
	b.deleteTable(table)
	if err := sock.commit(b); err != nil && !errGone(err) {
		return err
	}
	return nil
}

// Disturbed implements proxy.Backend.
func (t *Table) Disturbed() <-chan struct{} { return t.disturbed }

func (t *Table) disturb() {
	select {
	case t.disturbed <- struct{}{}:
	default:
	}
}

// Replace implements proxy.Backend: the old table goes and the new one comes in one transaction.
func (t *Table) Replace(all []*proxy.Port) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.chains, t.slots = map[string]*chain{}, map[elementID]*slot{}
	t.broken = true
	b := newBatch(t.sock.seq)
	b.addTable(t.cfg.Table) // so that there is one to delete
	b.deleteTable(t.cfg.Table)
	t.base(b)
	changes := make([]proxy.Change, len(all))
	for i, p := range all {
		changes[i].New = p
	}
	t.change(b, changes)
	if err := t.sock.commit(b); err != nil {
		return fmt.Errorf("replace table %s: %w", t.cfg.Table, err)
	}
	t.broken = false
	return nil
}

// Apply implements proxy.Backend. After an error the table is as before, and only Replace is accepted.
func (t *Table) Apply(changes []proxy.Change) error {
	if len(changes) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken || t.chains == nil {
		return fmt.Errorf("change table %s: it must be replaced first", t.cfg.Table)
	}
	b := newBatch(t.sock.seq)
	t.change(b, changes)
	if err := t.sock.commit(b); err != nil {
		t.broken = true
		return fmt.Errorf("change table %s: %w", t.cfg.Table, err)
	}
	return nil
}

// change appends what turns the present state into that after the changes, and keeps the books.
func (t *Table) change(b *batch, changes []proxy.Change) {
	gone, next := map[string]bool{}, map[string]*chain{}
	var order []string
	touched := map[elementID]bool{}
	var ids []elementID
	touch := func(id elementID) *slot {
		s := t.slots[id]
		if s == nil {
			s = &slot{}
			t.slots[id] = s
		}
		if !touched[id] {
			touched[id] = true
			ids = append(ids, id)
		}
		return s
	}
	for _, c := range changes {
		if c.Old != nil {
			chains, elems := program(t.cfg, c.Old)
			for _, x := range chains {
				gone[x.name] = true
			}
			for _, e := range elems {
				touch(e.id).drop(c.Old.Key)
			}
		}
		if c.New != nil {
			chains, elems := program(t.cfg, c.New)
			for _, x := range chains {
				if next[x.name] == nil {
					order = append(order, x.name)
				}
				next[x.name] = x
			}
			for _, e := range elems {
				touch(e.id).want(c.New.Key, e.verdict)
			}
		}
	}
	var dead []string
	for name := range gone {
		if next[name] == nil && t.chains[name] != nil {
			dead = append(dead, name)
		}
	}
	slices.Sort(dead)
	var del, add []operation
	for _, name := range dead {
		gone, _ := moves(t.chains[name], nil)
		del = append(del, gone...)
	}
	t.writeChains(b, order, next, &del, &add)
	t.claimed(ids, &del, &add)
	t.writeElements(b, unix.NFT_MSG_DELSETELEM, del)
	t.writeElements(b, unix.NFT_MSG_NEWSETELEM, add)
	for _, name := range dead {
		b.flushChain(t.cfg.Table, name)
	}
	for _, name := range dead {
		b.deleteChain(t.cfg.Table, name)
		if t.chains[name].endpoint.IsValid() {
			b.deleteSet(t.cfg.Table, clients(name))
		}
		delete(t.chains, name)
	}
}

func (t *Table) writeChains(b *batch, order []string, next map[string]*chain, del, add *[]operation) {
	for _, name := range order {
		is, was := next[name], t.chains[name]
		if was == nil {
			b.addChain(t.cfg.Table, name)
			if is.endpoint.IsValid() {
				b.addClients(t.cfg.Table, is)
			}
			t.lastID++
			is.id = t.lastID
		} else {
			is.id = was.id
		}
		is.follow(was)
		gone, fresh := moves(was, is)
		*del, *add = append(*del, gone...), append(*add, fresh...)
	}
	for _, name := range order {
		is, was := next[name], t.chains[name]
		t.chains[name] = is
		if was != nil && was.sameRules(is) {
			continue
		}
		if was != nil {
			b.flushChain(t.cfg.Table, name)
		}
		is.write(b, t.cfg)
	}
}

// operation is one element to add or to delete.
type operation struct {
	id   elementID
	v    verdict
	data string // of a map to other things than verdicts
}

// claimed adds the operations that bring the touched elements to what their first claimant wants.
func (t *Table) claimed(ids []elementID, del, add *[]operation) {
	for _, id := range ids {
		s := t.slots[id]
		v, wanted := s.wanted()
		if s.present && (!wanted || v != s.applied) {
			*del = append(*del, operation{id, s.applied, ""})
		}
		if wanted && (!s.present || v != s.applied) {
			*add = append(*add, operation{id, v, ""})
		}
		s.present, s.applied = wanted, v
		if !wanted {
			delete(t.slots, id)
		}
	}
}

// writeElements appends operations of one kind, set by set in the order of their first operations.
func (t *Table) writeElements(b *batch, kind uint16, ops []operation) {
	sets := map[string][]int{}
	var order []string
	for i := range ops {
		name := ops[i].id.set
		if sets[name] == nil {
			order = append(order, name)
		}
		sets[name] = append(sets[name], i)
	}
	for _, name := range order {
		for list := sets[name]; len(list) > 0; {
			e := b.elements(kind, t.cfg.Table, name)
			for ; len(list) > 0 && !e.full(); list = list[1:] {
				switch op := &ops[list[0]]; {
				case kind == unix.NFT_MSG_DELSETELEM || (op.v == verdict{} && op.data == ""):
					e.key([]byte(op.id.key))
				case op.data != "":
					e.data([]byte(op.id.key), []byte(op.data))
				default:
					e.verdict([]byte(op.id.key), op.v.code, op.v.chain)
				}
			}
			e.done()
		}
	}
}

// elementID names an element of a named set.
type elementID struct{ set, key string }

// verdict is what a map says; the zero verdict marks an element of a plain set.
type verdict struct {
	code  int32
	chain string
}

// slot is an element and those who want it. Two Services may claim one external address and port: the first has it, the next
// inherits it.
type slot struct {
	present bool
	applied verdict
	claims  []claim
}

type claim struct {
	by proxy.Key
	v  verdict
}

func (s *slot) drop(by proxy.Key) {
	s.claims = slices.DeleteFunc(s.claims, func(c claim) bool { return c.by == by })
}

func (s *slot) want(by proxy.Key, v verdict) { s.claims = append(s.claims, claim{by, v}) }

func (s *slot) wanted() (verdict, bool) {
	if len(s.claims) == 0 {
		return verdict{}, false
	}
	return s.claims[0].v, true
}

// Purge removes all that the backend leaves on a host: the table and the routes to its service ranges.
func Purge(table string, services ...netip.Prefix) error {
	return errors.Join(Delete(table), RemoveRoutes(services))
}
