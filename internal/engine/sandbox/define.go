package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nau/internal/engine/events"
	"nau/internal/engine/network"
	"nau/internal/engine/record"
	"nau/internal/kernel"
)

// draft checks a wish and makes the record of it.
func (m *Manager) draft(id string, c Config) (*Record, error) {
	r := &Record{ID: id, Config: c, State: Ready, Created: time.Now()}
	if r.Config.Hostname == "" && !c.HostNet && !c.HostUTS {
		r.Config.Hostname = r.ID[:12]
	}
	if r.Config.Hostname == "" && c.HostNet && c.OwnUTS {
		r.Config.Hostname, _ = os.Hostname()
	}
	r.Cgroup = c.Cgroup
	if r.Cgroup == "" {
		r.Cgroup, r.OwnCgroup = filepath.Join(m.cgroups(), r.ID), true
	}
	for name := range c.Sysctls {
		if err := checkSysctl(name, c); err != nil {
			return nil, err
		}
	}
	if err := checkOwners(c); err != nil {
		return nil, err
	}
	return r, nil
}

// Define makes a sandbox that is NotReady, and that Start can make Ready as often as Stop ends it. A loss of power may take it away until something
// of it is changed: whoever defines it keeps the Config, beside what the sandbox is for, and gives it to Redefine.
func (m *Manager) Define(c Config) (*Record, error) { return m.define(record.NewID(), c) }

// Redefine makes a defined sandbox again of which nothing is left. One that is there stays as it is.
func (m *Manager) Redefine(id string, c Config) error {
	if m.entry(id) != nil {
		return nil
	}
	_, err := m.define(id, c)
	return err
}

func (m *Manager) define(id string, c Config) (*Record, error) {
	c.Revivable = true
	r, err := m.draft(id, c)
	if err != nil {
		return nil, err
	}
	if r.OwnCgroup {
		// It has no limits and, nearly always, one container: a cgroup that only holds another would double the work of a start.
		r.Cgroup, r.OwnCgroup = filepath.Dir(r.Cgroup), false
	}
	r.State = NotReady
	if err := m.reserve(c.Name, r.ID); err != nil {
		return nil, err
	}
	if err := m.records.Put(r.ID, r); err != nil {
		m.unreserve(c.Name, r.ID)
		return nil, errors.Join(err, m.records.Delete(r.ID))
	}
	m.mu.Lock()
	m.index.Put(r.ID, &entry{rec: r})
	m.mu.Unlock()
	return r, nil
}

// Start makes a defined sandbox Ready. Starting what is Ready does nothing; on an error it stays as it was.
func (m *Manager) Start(ctx context.Context, id string) error {
	e, err := m.lock(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	old := m.current(e)
	if old.State == Ready {
		return nil
	}
	r := *old
	r.State, r.Stopped, r.Endpoints = Ready, time.Time{}, nil
	if err := m.build(ctx, &r); err != nil {
		return errors.Join(fmt.Errorf("start sandbox %s: %w", cmp.Or(r.Config.Name, id[:12]), err), m.teardown(context.WithoutCancel(ctx), &r))
	}
	m.swap(e, &r)
	m.set.Events.Publish(events.Event{Kind: events.Sandbox, Action: events.Start, ID: id})
	return nil
}

// lock finds a sandbox and locks its operations.
func (m *Manager) lock(id string) (*entry, error) {
	e := m.entry(id)
	if e != nil {
		e.op.Lock()
		if m.entry(id) == e {
			return e, nil
		}
		e.op.Unlock()
	}
	return nil, fmt.Errorf("find sandbox %s: %w", id, ErrNotFound)
}

// Connect attaches a sandbox to one more network, now if it is Ready, else from its next start.
func (m *Manager) Connect(ctx context.Context, id string, a Attachment) error {
	e, err := m.lock(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	r := *m.current(e)
	if r.Config.HostNet {
		return fmt.Errorf("connect sandbox %s: it uses the host's network", id[:12])
	}
	r.Config.Networks = append(slices.Clone(r.Config.Networks), a)
	r.Endpoints = slices.Clone(r.Endpoints)
	if r.State == Ready {
		ns, err := os.Open(m.ns(id, kernel.Net))
		if err != nil {
			return err
		}
		defer ns.Close()
		req := a.request(&r, ns)
		req.NoDefault = true
		made, err := m.set.Net.Attach(ctx, req)
		if err != nil {
			return err
		}
		r.Endpoints = append(r.Endpoints, made)
		if err := errors.Join(m.lead(&r, ns), m.rewriteHosts(&r)); err != nil {
			r.Endpoints = r.Endpoints[:len(r.Endpoints)-1]
			return errors.Join(err, m.set.Net.Detach(made), m.set.Net.Unlink(made, ns), m.lead(&r, ns))
		}
	}
	if err := m.save(&r); err != nil {
		return err
	}
	m.swap(e, &r)
	return nil
}

// Disconnect takes a sandbox off a network. What is not connected is ErrNotFound.
func (m *Manager) Disconnect(ctx context.Context, id, name string) error {
	e, err := m.lock(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	r := *m.current(e)
	i := slices.IndexFunc(r.Config.Networks, func(a Attachment) bool { return a.Network == name })
	if i < 0 {
		return fmt.Errorf("disconnect sandbox %s from network %s: %w", id[:12], name, ErrNotFound)
	}
	r.Config.Networks = slices.Delete(slices.Clone(r.Config.Networks), i, i+1)
	var left error
	if i := slices.IndexFunc(r.Endpoints, func(e network.Endpoint) bool { return e.Network == name }); i >= 0 {
		gone := r.Endpoints[i]
		r.Endpoints = slices.Delete(slices.Clone(r.Endpoints), i, i+1)
		if r.State == Ready {
			ns, err := os.Open(m.ns(id, kernel.Net))
			if err != nil {
				return err
			}
			defer ns.Close()
			// Whatever goes wrong, the endpoint is none any more.
			left = errors.Join(m.set.Net.Detach(gone), m.set.Net.Unlink(gone, ns), m.lead(&r, ns), m.rewriteHosts(&r))
		}
	}
	if err := m.save(&r); err != nil {
		return errors.Join(left, err)
	}
	m.swap(e, &r)
	return left
}

// request is the endpoint that an attachment means, beside those that r has.
func (a Attachment) request(r *Record, ns *os.File) network.AttachRequest {
	link := a.Link
	if link == "" {
		link = freeLink(cmp.Or(a.Prefix, "eth"), r.Config.Networks, r.Endpoints)
	}
	return network.AttachRequest{Network: a.Network, Sandbox: r.ID, Netns: ns, Link: link, Addrs: a.Addrs, Further: a.Further, MAC: a.MAC,
		Priority: a.Priority, Rank: a.Rank, Sysctls: a.Sysctls}
}

// freeLink is the first name of an interface that no endpoint has and no attachment asks for.
func freeLink(prefix string, asked []Attachment, eps []network.Endpoint) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s%d", prefix, i)
		if !slices.ContainsFunc(eps, func(e network.Endpoint) bool { return e.Link == name }) &&
			!slices.ContainsFunc(asked, func(a Attachment) bool { return a.Link == name }) {
			return name
		}
	}
}

// lead makes the default routes of a sandbox whose endpoints changed, and publishes its ports where they lead now.
func (m *Manager) lead(r *Record, ns *os.File) error {
	if err := m.set.Net.Gateways(ns, r.Endpoints); err != nil {
		return err
	}
	at := m.set.Net.Leading(r.Endpoints, false)
	if at < 0 {
		at = m.set.Net.Leading(r.Endpoints, true)
	}
	r.Endpoints = slices.Clone(r.Endpoints)
	for i := range r.Endpoints {
		if i != at && len(r.Endpoints[i].Ports) > 0 {
			if err := m.set.Net.Withdraw(&r.Endpoints[i]); err != nil {
				return err
			}
		}
	}
	if at < 0 || len(r.Endpoints[at].Ports) > 0 {
		return nil
	}
	return m.set.Net.Publish(&r.Endpoints[at], r.Config.Ports)
}

// SetDNS rewrites what a sandbox's resolv.conf says, in place where it is Ready: containers have it mounted.
func (m *Manager) SetDNS(id string, d DNS) error {
	e, err := m.lock(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	r := *m.current(e)
	r.Config.DNS = d
	if r.State == Ready {
		b, err := d.orHost(!r.Config.HostNet).render()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(m.files(id), "resolv.conf"), b, 0o644); err != nil {
			return err
		}
	}
	if err := m.records.Put(id, &r); err != nil {
		return err
	}
	m.swap(e, &r)
	return nil
}

// Rehost changes the further lines of a sandbox's hosts file, in place where it is Ready: containers have it mounted.
func (m *Manager) Rehost(id string, change func([]HostAlias) []HostAlias) error {
	e, err := m.lock(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	r := *m.current(e)
	r.Config.Hosts = change(r.Config.Hosts)
	if slices.EqualFunc(r.Config.Hosts, m.current(e).Config.Hosts, func(a, b HostAlias) bool { return a.Addr == b.Addr && slices.Equal(a.Names, b.Names) }) {
		return nil
	}
	if r.State == Ready {
		if err := m.rewriteHosts(&r); err != nil {
			return err
		}
	}
	if err := m.records.Put(id, &r); err != nil {
		return err
	}
	m.swap(e, &r)
	return nil
}

// HostDNS is what a sandbox with a network of its own is told when nobody says otherwise.
func HostDNS() DNS { return hostDNS(true) }

// rewriteHosts writes the hosts file anew, in place: containers have it mounted.
func (m *Manager) rewriteHosts(r *Record) error {
	hosts, err := r.hostsFile(r.Config.Hostname)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.files(r.ID), "hosts"), hosts, 0o644)
}

// Addr finds the sandbox's address of a family in a network; the zero Addr if it has none.
func (r *Record) Addr(name string, v6 bool) netip.Addr {
	for _, e := range r.Endpoints {
		if e.Network != name {
			continue
		}
		for _, a := range e.Addrs {
			if a.Addr().Is6() == v6 {
				return a.Addr()
			}
		}
	}
	return netip.Addr{}
}
