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
	ErrNoAddress    = errors.New("no free address")
	ErrAddressTaken = errors.New("address already in use")
	ErrPortTaken    = errors.New("port is already allocated")
	ErrNotFound     = errors.New("no such network")
	ErrExists       = errors.New("network already exists")
	ErrInUse        = errors.New("network has endpoints")
	ErrDriver       = errors.New("this kernel has no such kind of link")
	ErrPortBusy     = errors.New("address already in use")
)

// Driver is how a network reaches the world.
type Driver string

// The drivers that exist.
const (
	Bridge  Driver = "bridge"
	Macvlan Driver = "macvlan" // endpoints are neighbours of the host on a parent's link, each with a hardware address of its own
	Ipvlan  Driver = "ipvlan"  // the same with the parent's hardware address
	Host    Driver = "host"    // the host's own namespace; nothing to set up
	None    Driver = "none"    // loopback only
)

// Reach says how a family's addresses of a bridge are reached from outside the host.
type Reach string

// The ways. Source: Docker's documentation of the bridge driver's gateway modes.
const (
	NAT            Reach = ""                // by published ports alone, which are translated
	NATUnprotected Reach = "nat-unprotected" // by published ports, and by routing to the address
	RoutedReach    Reach = "routed"          // by routing, to published ports alone; nothing is translated
	Isolated       Reach = "isolated"        // not at all: the bridge has no address on the host
)

// Plan refines one subnet.
type Plan struct {
	Gateway  netip.Addr   `json:",omitzero"`  // invalid = the first address
	Range    netip.Prefix `json:",omitzero"`  // where addresses are leased; invalid = all of the subnet
	Reserved []netip.Addr `json:",omitempty"` // never leased
	Chosen   bool         `json:",omitempty"` // the subnet is one that was free, not one that was asked for
}

// Spec is a network as asked for and as stored.
type Spec struct {
	Name     string // unique
	ID       string `json:",omitempty"`
	Driver   Driver
	Link     string         `json:",omitempty"` // name of the bridge device
	Subnets  []netip.Prefix `json:",omitempty"` // of a bridge at most one of each family
	Plans    []Plan         `json:",omitempty"` // of the subnets, by index; a missing one is the zero Plan
	Routed   bool           `json:",omitempty"` // endpoints get host routes to the bridge instead of the subnet on the link
	MTU      int            `json:",omitempty"` // 0 = 1500
	Internal bool           `json:",omitempty"` // no way out: neither default route nor masquerading
	// NoMasquerade are destinations that see the endpoint's own address, beside the network itself.
	NoMasquerade []netip.Prefix    `json:",omitempty"`
	Labels       map[string]string `json:",omitempty"`
	Extra        []byte            `json:",omitempty"` // the front's own, opaque here

	// Of bridges:
	Apart   bool     `json:",omitempty"` // no way to and from other networks that are apart, and from outside as Reach says
	Reach   [2]Reach `json:",omitzero"`  // IPv4, IPv6; of networks that are apart
	NoMasq  bool     `json:",omitempty"` // the world sees the endpoints' own addresses
	NoPeers bool     `json:",omitempty"` // endpoints cannot speak to each other
	Foreign bool     `json:",omitempty"` // the bridge was there before: it stays when the network goes

	// Of macvlan and ipvlan:
	Parent string `json:",omitempty"` // "eth0", or "eth0.50" for VLAN 50 of it; "" = a link that leads nowhere
	Made   bool   `json:",omitempty"` // the parent was made here and goes with the network
	Mode   string `json:",omitempty"` // macvlan: bridge, private, vepa, passthru; ipvlan: l2, l3, l3s
	Flag   string `json:",omitempty"` // ipvlan: bridge, private, vepa
}

// plan is the refinement of subnet i.
func (s *Spec) plan(i int) Plan {
	var p Plan
	if i < len(s.Plans) {
		p = s.Plans[i]
	}
	if !p.Gateway.IsValid() && s.Subnets[i].Addr().BitLen()-s.Subnets[i].Bits() > 1 {
		p.Gateway = s.Subnets[i].Masked().Addr().Next()
	}
	return p
}

// Gateway is the address of a family that leads out of the network; invalid if there is none.
func (s *Spec) Gateway(v6 bool) netip.Addr {
	for i, p := range s.Subnets {
		if p.Addr().Is6() == v6 {
			if s.Driver == Bridge && s.reach(v6) == Isolated {
				return netip.Addr{}
			}
			return s.plan(i).Gateway
		}
	}
	return netip.Addr{}
}

func (s *Spec) reach(v6 bool) Reach {
	if v6 {
		return s.Reach[1]
	}
	return s.Reach[0]
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
	Priority int              `json:",omitempty"` // of its gateways among the sandbox's
	Rank     string           `json:",omitempty"` // the smaller goes first among equal priorities
}

// Stats are an endpoint's counters, seen from inside the sandbox.
type Stats struct {
	Link                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}
