package docker

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/network"
)

// The ports that the system gives away when none is named. Source: Linux' ip_local_port_range.
const firstPort, lastPort = 32768, 60999

// choosePorts turns a container's port bindings into the engine's; picked says that some were chosen here.
func (s *Server) choosePorts(st *stored) (ports []network.Port, picked bool, err error) {
	if st.Host.NetworkMode.IsHost() || st.Host.NetworkMode.IsNone() {
		return nil, false, nil
	}
	bindings := dn.PortMap{}
	for p, b := range st.Host.PortBindings {
		bindings[p] = b
	}
	if st.Host.PublishAllPorts {
		for p := range st.Config.ExposedPorts {
			if len(bindings[p]) == 0 {
				bindings[p] = []dn.PortBinding{{}}
			}
		}
	}
	for p, list := range bindings {
		proto, ok := protocols[p.Proto()]
		if !ok {
			return nil, false, badRequest("invalid proto: %s", p.Proto())
		}
		if len(list) == 0 {
			list = []dn.PortBinding{{}}
		}
		for _, b := range list {
			out := network.Port{Protocol: proto, Container: p.Num()}
			if b.HostIP.IsValid() && !b.HostIP.IsUnspecified() {
				out.HostIP = b.HostIP
			}
			low, high, _ := strings.Cut(b.HostPort, "-")
			switch {
			case b.HostPort == "" || b.HostPort == "0":
				out.Host, picked = anyPort(), true
			case high != "":
				from, to := atoi(low), atoi(high)
				if from <= 0 || to < from || to > 65535 {
					return nil, false, badRequest("invalid port range: %s", b.HostPort)
				}
				out.Host = s.freePort(ports, out, from, to)
			default:
				n := atoi(low)
				if n <= 0 || n > 65535 {
					return nil, false, badRequest("invalid port: %s", b.HostPort)
				}
				out.Host = uint16(n)
			}
			if !slices.Contains(ports, out) {
				ports = append(ports, out)
			}
		}
	}
	slices.SortFunc(ports, func(a, b network.Port) int {
		return (int(a.Container)-int(b.Container))*4 + int(a.Protocol) - int(b.Protocol)
	})
	return ports, picked, nil
}

var protocols = map[dn.IPProtocol]network.Protocol{dn.TCP: network.TCP, dn.UDP: network.UDP, dn.SCTP: network.SCTP}

func anyPort() uint16 {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return uint16(firstPort + binary.BigEndian.Uint32(b[:])%(lastPort-firstPort+1))
}

// freePort is the first port of a range that no sandbox publishes.
func (s *Server) freePort(mine []network.Port, p network.Port, from, to int) uint16 {
	for n := from; n < to; n++ {
		p.Host = uint16(n)
		same := func(q network.Port) bool { return q.Protocol == p.Protocol && q.Host == p.Host }
		if slices.ContainsFunc(mine, same) {
			continue
		}
		free := true
		for _, e := range s.e.Sandboxes.Endpoints() {
			free = free && !slices.ContainsFunc(e.Ports, same)
		}
		if free {
			return p.Host
		}
	}
	return uint16(to)
}

// addressOf is the address that a published port is shown at.
func addressOf(p network.Port) netip.Addr {
	if p.HostIP.IsValid() {
		return p.HostIP
	}
	return netip.IPv4Unspecified()
}
