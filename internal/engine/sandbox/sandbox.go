// Package sandbox makes the places that containers run in: network, IPC and host name namespaces, pinned by bind mounts so that no process
// is needed to hold them, with their addresses, name files, shared memory and kernel settings.
//
// The life of a sandbox: Run makes the namespaces on one thread, names the host, sets sysctls, attaches networks, and writes the record last;
// Stop gives all of that back and leaves the record, NotReady; Remove deletes the record. What has no record is a leftover of a crash
// and is cleaned when the Manager opens. Where the PID namespace is shared, a pause process holds it as its process 1; there is none otherwise.
//
// A sandbox knows nothing of the containers in it: the engine stops them first. The engine and its fronts import it.
package sandbox

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"nau/internal/engine/network"
	"nau/internal/engine/spec"
	"nau/internal/kernel/idmap"
)

// Kinds of errors; test with errors.Is.
var (
	ErrNotFound  = errors.New("no such sandbox")
	ErrAmbiguous = errors.New("sandbox ID prefix is ambiguous")
	ErrNameTaken = errors.New("sandbox name is taken")
)

// Share says whose namespace a container of the sandbox uses.
type Share string

// The choices.
const (
	Own    Share = ""        // the sandbox's; for PID: one for each container
	Shared Share = "sandbox" // for PID: one for all containers
	Host   Share = "host"
)

// Config is what a front asks for. Dialect-neutral; a front keeps its own words in Extra.
type Config struct {
	Name        string            `json:",omitempty"` // unique when not empty
	Origin      string            // the front: "cri", "docker"
	Labels      map[string]string `json:",omitempty"`
	Annotations map[string]string `json:",omitempty"`
	Extra       []byte            `json:",omitempty"` // the front's own, opaque here

	Hostname   string            `json:",omitempty"` // "" = the ID's first twelve digits
	Domainname string            `json:",omitempty"`
	DNS        DNS               `json:",omitzero"`
	Hosts      []HostAlias       `json:",omitempty"`
	Networks   []Attachment      `json:",omitempty"` // none: loopback only, unless HostNet
	Ports      []network.Port    `json:",omitempty"` // published where the IPv4 gateway is, else the IPv6 one
	HostNet    bool              `json:",omitempty"`
	HostUTS    bool              `json:",omitempty"` // with HostNet too, but for OwnUTS
	OwnUTS     bool              `json:",omitempty"` // a host name of its own beside HostNet
	IPC        Share             `json:",omitempty"`
	PID        Share             `json:",omitempty"`
	Sysctls    map[string]string `json:",omitempty"`
	ShmSize    int64             `json:",omitempty"` // bytes; 0 = 64 MiB
	OwnShm     bool              `json:",omitempty"` // each container has a /dev/shm of its own that nobody else sees
	Cgroup     string            `json:",omitempty"` // parent cgroup, absolute below the hierarchy's root; "" = one is made
	Privileged bool              `json:",omitempty"`
	Runtime    string            `json:",omitempty"` // handler's name; "" = built in
	LogDir     string            `json:",omitempty"`
	Resources  spec.Resources    `json:",omitzero"`
	Revivable  bool              `json:",omitempty"` // Start makes it Ready again after a Stop; set by Define
	// Owners, where not zero, is the mapping of a user namespace of the sandbox's own, which owns its other namespaces. The host's network, PID and
	// IPC namespaces cannot be had with it.
	Owners    idmap.Map `json:",omitzero"`
	Ephemeral bool      `json:",omitempty"` // never started again after a reboot: its record need not survive a power loss
}

// sharesUTS reports whether containers have the host's name.
func (c *Config) sharesUTS() bool { return c.HostUTS || c.HostNet && !c.OwnUTS }

// DNS is what resolv.conf says. The zero value copies the host's.
type DNS struct {
	Servers, Searches, Options []string
	ServersFirst               bool `json:",omitempty"` // in the file, before the domains to search in
}

// HostAlias is one line of the hosts file.
type HostAlias struct {
	Addr  netip.Addr
	Names []string
	Of    string `json:",omitempty"` // whose address it is, for those who keep it right: no part of the file
}

// Attachment wishes for a place in a network.
type Attachment struct {
	Network string
	Addrs   []netip.Addr     `json:",omitempty"`
	Further []netip.Prefix   `json:",omitempty"` // link-local addresses that the link gets beside those of the network
	Aliases []string         `json:",omitempty"`
	MAC     net.HardwareAddr `json:",omitempty"` // nil = made of the address

	Link     string            `json:",omitempty"` // name inside; "" = the first free one
	Prefix   string            `json:",omitempty"` // of the names to choose from; "" = "eth"
	Priority int               `json:",omitempty"` // of this network's gateways
	Rank     string            `json:",omitempty"` // the smaller goes first among equal priorities
	Sysctls  map[string]string `json:",omitempty"` // of the link: see network.AttachRequest
}

// State of a sandbox.
type State string

// The states.
const (
	Ready    State = "ready"
	NotReady State = "notready"
)

// Record is a sandbox as stored. Values handed out are copies or read-only.
type Record struct {
	ID        string
	Config    Config
	State     State
	Created   time.Time
	Stopped   time.Time          `json:",omitzero"`
	Cgroup    string             // parent of the containers' cgroups
	OwnCgroup bool               `json:",omitempty"` // made here, removed here
	Endpoints []network.Endpoint `json:",omitempty"`
}

// Lasting tells that the sandbox may be started after a reboot, so that its record has to survive a loss of power.
func (r *Record) Lasting() bool { return r.Config.Revivable && !r.Config.Ephemeral }

// Addrs lists the sandbox's addresses, the first network's first.
func (r *Record) Addrs() []netip.Addr {
	var out []netip.Addr
	for _, e := range r.Endpoints {
		for _, a := range e.Addrs {
			out = append(out, a.Addr())
		}
	}
	return out
}

// Place is what a container needs to join the sandbox.
type Place struct {
	Namespaces                      spec.Namespaces
	Hostname                        string
	ResolvConf, Hosts, HostnameFile string
	ShmDir                          string // "": the container mounts one of its own, of ShmSize
	ShmSize                         int64
	Cgroup                          string
	Owners                          idmap.Map // whose the containers' files are
}
