// Package network connects sandboxes: a bridge of our own, addresses, routes, masquerading and published ports.
//
// The life of an endpoint: Attach leases addresses, makes a veth pair between the bridge and the sandbox's network namespace in one rtnetlink
// batch on each side, and publishes ports by adding elements to nftables maps; Detach takes the ports away at once and frees the addresses,
// while the kernel destroys the links with the namespace. The lease of an address is the record of the sandbox that holds it:
// Manager.Restore hands them back after a restart.
//
// Pods get host routes (/32, /128) towards the bridge with permanent neighbour entries on both sides: nothing is resolved by ARP
// or ND, and packets between pods of one node pass the node's IP layer, so that service translation sees both directions.
//
// It is not a service proxy (internal/proxy) and knows neither pods nor Docker's names. The engine's rooms and its fronts import it.
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Kinds of errors; test with errors.Is.
var (
	ErrNoAddress = errors.New("no free address")
	ErrPortTaken = errors.New("port is already allocated")
	ErrNotFound  = errors.New("no such network")
	ErrExists    = errors.New("network already exists")
	ErrInUse     = errors.New("network has endpoints")
)

// Driver is how a network reaches the world.
type Driver string

// The drivers that exist.
const (
	Bridge Driver = "bridge"
	Host   Driver = "host" // the host's own namespace; nothing to set up
	None   Driver = "none" // loopback only
)

// Spec is a network as asked for and as stored.
type Spec struct {
	Name     string // unique
	ID       string `json:",omitempty"`
	Driver   Driver
	Link     string         `json:",omitempty"` // name of the bridge device
	Subnets  []netip.Prefix `json:",omitempty"` // at most one of each family
	Routed   bool           `json:",omitempty"` // endpoints get host routes to the bridge instead of the subnet on the link
	MTU      int            `json:",omitempty"` // 0 = 1500
	Internal bool           `json:",omitempty"` // no way out: neither default route nor masquerading
	// NoMasquerade are destinations that see the endpoint's own address, beside the network itself.
	NoMasquerade []netip.Prefix    `json:",omitempty"`
	Labels       map[string]string `json:",omitempty"`
	Extra        []byte            `json:",omitempty"` // the front's own, opaque here
}

// Protocol of a published port, by its number in the IP header.
type Protocol uint8

// The protocols.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// Port publishes a sandbox's port on the host.
type Port struct {
	Protocol  Protocol
	Container uint16
	Host      uint16
	HostIP    netip.Addr `json:",omitzero"` // invalid or unspecified = all the host's addresses
}

func (p Port) String() string {
	if p.HostIP.IsValid() {
		return fmt.Sprintf("%s/%s", netip.AddrPortFrom(p.HostIP, p.Host), p.Protocol)
	}
	return fmt.Sprintf(":%d/%s", p.Host, p.Protocol)
}

// Endpoint is one sandbox's place in one network. It is stored in the sandbox's record.
type Endpoint struct {
	Network  string           // Spec.Name
	Sandbox  string           // ID
	Link     string           // name inside, "eth0"
	HostLink string           // name of the other end on the host
	MAC      net.HardwareAddr `json:",omitempty"`
	Addrs    []netip.Prefix   // IPv4 first; with the subnet's length for L2 networks, the full length for routed ones
	Gateways []netip.Addr     `json:",omitempty"`
	Ports    []Port           `json:",omitempty"`
}

// Stats are an endpoint's counters, seen from inside the sandbox.
type Stats struct {
	Link                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}
