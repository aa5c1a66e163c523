// Package proxy makes Services reachable on a node: it decides from Services and EndpointSlices which packets go where, and hands
// that to a Backend which tells the kernel.
//
// It is not the kernel side (package nft) and resolves no names (package dns). It sees the API through client-go only; cluster
// assembles it.
package proxy

import (
	"net/netip"
	"time"
)

// Protocol is an IP protocol number that Services can have.
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
	return "unknown"
}

// Key names one port of one Service in one IP family.
type Key struct {
	Namespace, Service, Port string // Port is the port's name, may be empty
	Protocol                 Protocol
	V6                       bool
}

// Port is what shall hold for one port of one Service in one IP family: every way in, and who answers. It is a value that nobody
// changes once it is decided.
type Port struct {
	Key
	// ClusterIP and Port are the way in from inside; the address is never zero.
	ClusterIP netip.Addr
	Number    uint16
	// NodePort is the way in by any address of the node, 0 for none.
	NodePort uint16
	// External are further addresses with the Port's number: externalIPs, and load balancers' addresses in mode VIP.
	External []netip.Addr
	// Balanced are load balancers' addresses with source ranges: others than Sources are dropped.
	Balanced []netip.Addr
	Sources  []netip.Prefix
	// Affinity keeps a client with its endpoint this long, 0 for no affinity.
	Affinity time.Duration

	// Internal answer what comes to ClusterIP; empty means refuse, or drop what internalTrafficPolicy Local leaves without an answer.
	Internal []netip.AddrPort
	// InternalDrop tells that an empty Internal means drop: endpoints exist elsewhere.
	InternalDrop bool
	// Cluster answer what comes from outside, and from pods and the node itself to outside addresses.
	Cluster []netip.AddrPort
	// ExternalLocal: what comes from outside is answered by Local only, with the client's address kept; empty Local means drop.
	ExternalLocal bool
	Local         []netip.AddrPort
	// OnNode are the addresses of endpoints on this node: a pod among them may reach itself.
	OnNode []netip.Addr
}

// Change is one Port before and after; nil means it is not there.
type Change struct{ Old, New *Port }

// Backend programs the kernel.
type Backend interface {
	// Replace makes everything new, in one step for the packets that pass meanwhile.
	Replace(all []*Port) error
	// Apply makes changes on top of what was applied, all or none.
	Apply(changes []Change) error
	// Disturbed says that somebody else has changed what we had programmed: Replace is due.
	Disturbed() <-chan struct{}
}

// Conntrack forgets connections that would stick to an endpoint that is gone. Only UDP needs it: TCP ends by itself.
type Conntrack interface {
	// Forget drops flows to the service addresses that were answered by one of the gone endpoints, or by nobody.
	Forget(stale []Stale) error
}

// Stale are flows to forget: UDP to Addr:Port (or any local address if Addr is zero) answered by Endpoint, or not translated at all
// if Endpoint is zero.
type Stale struct {
	Addr     netip.Addr
	Port     uint16
	V6       bool
	Endpoint netip.Addr
}
