package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ResolverAddr is where programs inside a sandbox ask for names. Programs know it by heart: nginx' configurations have it written out.
var ResolverAddr = netip.MustParseAddr("127.0.0.11")

// ListenResolver opens a name server's sockets inside a network namespace. They have a port of the kernel's choice, to which a rule inside
// leads what is sent to ResolverAddr's port 53: that one stays free for a name server of the sandbox's own. The sockets hold the
// namespace: it goes when they are closed.
func ListenResolver(netns *os.File, table string) (net.PacketConn, net.Listener, error) {
	var packets net.PacketConn
	var listener net.Listener
	err := Inside(netns, func() (err error) {
		at := net.JoinHostPort(ResolverAddr.String(), "0")
		if packets, err = net.ListenPacket("udp4", at); err != nil {
			return err
		}
		if listener, err = net.Listen("tcp4", at); err != nil {
			packets.Close()
			return err
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if err := leadResolver(netns, table, packets.LocalAddr().(*net.UDPAddr).Port, listener.Addr().(*net.TCPAddr).Port); err != nil {
		packets.Close()
		listener.Close()
		return nil, nil, fmt.Errorf("lead name queries: %w", err)
	}
	return packets, listener, nil
}

// leadResolver writes the rule, in the place of an earlier one.
func leadResolver(netns *os.File, name string, udp, tcp int) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(netns.Fd())))
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: name + "-names", Family: nftables.TableFamilyIPv4}
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{Name: "output", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest})
	for _, p := range []struct {
		proto byte
		port  int
	}{{unix.IPPROTO_UDP, udp}, {unix.IPPROTO_TCP, tcp}} {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			load(0, "dst", 1),
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ResolverAddr.AsSlice()},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p.proto}},
			&expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: port4(53)[:2]},
			&expr.Immediate{Register: 1, Data: ResolverAddr.AsSlice()},
			&expr.Immediate{Register: 2, Data: port4(uint16(p.port))[:2]},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.AF_INET, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
		}})
	}
	return c.Flush()
}
