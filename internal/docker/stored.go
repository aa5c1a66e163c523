package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
)

// stored is what this front keeps in a container's Extra: the request with the image's part merged in, and what came of it.
type stored struct {
	Config   *dc.Config
	Host     *dc.HostConfig
	Networks map[string]*dn.EndpointSettings `json:",omitempty"` // as asked for, by the network's ID
	Absent   map[string]*dn.EndpointSettings `json:",omitempty"` // networks that were not there when the container was made, by the names that were asked for: its start looks again
	Mounts   []dc.MountPoint                 `json:",omitempty"`
	Own      bool                            `json:",omitempty"` // the sandbox is this container's own
	Place    *sandbox.Config                 `json:",omitempty"` // what that was defined as, should a loss of power take it
	Stopped  bool                            `json:",omitempty"` // by a user: unless-stopped does not start it again
	Restarts int                             `json:",omitempty"`
	Failures int                             `json:",omitempty"` // restarts on failure in a row
	Platform string                          `json:",omitempty"`
}

// load reads a container's Extra, or hands out what it read of the same one before; the result is read-only.
func load(r *container.Record) *stored {
	if r.Config.Origin != Origin || len(r.Config.Extra) == 0 {
		return unpack(r)
	}
	if st := unpacked.find(&r.Config.Extra[0]); st != nil {
		return st
	}
	st := unpack(r)
	unpacked.add(&r.Config.Extra[0], st)
	return st
}

// unpacked is what was read last: a container's start and end ask for it some ten times.
var unpacked recent

// recent are the last few that were read, by where their text lies: a record's text is replaced and never changed.
type recent struct {
	mu   sync.Mutex
	list [16]struct {
		text *byte
		st   *stored
	}
	next int
}

func (c *recent) find(text *byte) *stored {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.list {
		if e.text == text {
			return e.st
		}
	}
	return nil
}

func (c *recent) add(text *byte, st *stored) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[c.next].text, c.list[c.next].st = text, st
	c.next = (c.next + 1) % len(c.list)
}

// unpack is load for who changes what it gets. A container of another front has no Extra: what can be told of it is made up from the record.
func unpack(r *container.Record) *stored {
	st := &stored{}
	if r.Config.Origin == Origin {
		_ = json.Unmarshal(r.Config.Extra, st)
	}
	if st.Config == nil {
		p := r.Config.Process
		st.Config = &dc.Config{Image: r.Config.Image, Labels: r.Config.Labels, Env: p.Env, Tty: p.Terminal, OpenStdin: r.Config.OpenStdin,
			StdinOnce: r.Config.StdinOnce, WorkingDir: p.Dir, Entrypoint: p.Entrypoint, Cmd: p.Args, User: p.User.Name}
		if r.Process != nil {
			st.Config.Env, st.Config.WorkingDir = r.Process.Env, r.Process.Cwd
			st.Config.Entrypoint, st.Config.Cmd = nil, r.Process.Args
		}
	}
	if st.Host == nil {
		st.Host = &dc.HostConfig{LogConfig: dc.LogConfig{Type: r.Config.Log.Format}}
	}
	return st
}

// restartPolicy is what the engine knows of a definition's restart policy.
func restartPolicy(h *dc.HostConfig) container.RestartPolicy {
	return container.RestartPolicy{Name: string(h.RestartPolicy.Name), Retries: h.RestartPolicy.MaximumRetryCount}
}

// change stores a changed Extra.
func (s *Server) change(id string, f func(*stored)) error {
	return s.e.Containers.Update(id, func(r *container.Record) {
		st := unpack(r)
		f(st)
		r.Config.Restart = restartPolicy(st.Host)
		if b, err := json.Marshal(st); err == nil {
			r.Config.Extra = b
		}
	})
}

// find finds a container by ID, beginning of an ID, or name.
func (s *Server) find(key string) (*container.Record, error) {
	r, err := s.e.Containers.Find(strings.TrimPrefix(key, "/"))
	if err != nil {
		if r := s.linkedAs(key); r != nil {
			return r, nil
		}
		if statusOf(err) == 404 {
			return nil, notFound("No such container: %s", key)
		}
		return nil, badRequest("multiple IDs found with provided prefix: %s", key)
	}
	return r, nil
}

// byID finds the container that a request's path names.
func (s *Server) byID(c *call) (*container.Record, error) { return s.find(c.vars["id"]) }

func running(r *container.Record) bool {
	return r.State == container.Running || r.State == container.Paused
}

// command is what a container runs, split as Docker's inspect has it.
func command(st *stored) (path string, args []string) {
	all := append(append([]string{}, st.Config.Entrypoint...), st.Config.Cmd...)
	if len(all) == 0 {
		return "", []string{}
	}
	return all[0], all[1:]
}

// attributes are what events tell of a container.
func attributes(r *container.Record) map[string]string {
	a := maps.Clone(r.Config.Labels)
	if a == nil {
		a = map[string]string{}
	}
	a["image"], a["name"] = r.Config.Image, r.Config.Name
	return a
}

// locks serialises what is done with one thing.
type locks struct {
	mu  sync.Mutex
	all map[string]*held
}

type held struct {
	mu sync.Mutex
	n  int
}

func (l *locks) lock(key string) (unlock func()) {
	l.mu.Lock()
	if l.all == nil {
		l.all = map[string]*held{}
	}
	h := l.all[key]
	if h == nil {
		h = &held{}
		l.all[key] = h
	}
	h.n++
	l.mu.Unlock()
	h.mu.Lock()
	return func() {
		h.mu.Unlock()
		l.mu.Lock()
		if h.n--; h.n == 0 {
			delete(l.all, key)
		}
		l.mu.Unlock()
	}
}

// stamp writes a time as Docker does; the zero time is the year 1.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00Z"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// ago words a duration as `docker ps` does. Source: go-units' HumanDuration, which the CLI uses for the rest of the line.
func ago(d time.Duration) string {
	s := int(d.Seconds())
	switch {
	case s < 1:
		return "Less than a second"
	case s == 1:
		return "1 second"
	case s < 60:
		return fmt.Sprintf("%d seconds", s)
	}
	switch m := int(d.Minutes()); {
	case m == 1:
		return "About a minute"
	case m < 60:
		return fmt.Sprintf("%d minutes", m)
	}
	switch h := int(d.Hours() + 0.5); {
	case h == 1:
		return "About an hour"
	case h < 48:
		return fmt.Sprintf("%d hours", h)
	case h < 24*7*2:
		return fmt.Sprintf("%d days", h/24)
	case h < 24*30*2:
		return fmt.Sprintf("%d weeks", h/24/7)
	case h < 24*365*2:
		return fmt.Sprintf("%d months", h/24/30)
	default:
		return fmt.Sprintf("%d years", int(d.Hours())/24/365)
	}
}
