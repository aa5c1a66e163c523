package docker

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	dn "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"nau/internal/engine/container"
	"nau/internal/engine/network"
)

// The ports that the system gives away when none is named. Source: Linux' ip_local_port_range.
const firstPort, lastPort = 32768, 60999

// checkBindings refuses ports of the host that are none, before a container is made. A port with an empty list is published like one with an empty
// binding, which a warning tells.
func checkBindings(all dn.PortMap) (warnings []string, err error) {
	var empty []string
	for p, list := range all {
		if _, ok := protocols[p.Proto()]; !ok {
			return nil, badRequest("invalid proto: %s", p.Proto())
		}
		if len(list) == 0 {
			empty = append(empty, p.String())
			all[p] = []dn.PortBinding{{}}
		}
		for _, b := range list {
			if _, _, err := hostPorts(b.HostPort); err != nil {
				return nil, err
			}
		}
	}
	if len(empty) > 0 {
		slices.Sort(empty)
		warnings = append(warnings, "Following container port(s) have an empty list of port-bindings: "+strings.Join(empty, ", ")+". Such bindings will be discarded in a future version.")
	}
	return warnings, nil
}

// hostPorts reads "", "8000" or "8000-8010"; 0 is any.
func hostPorts(text string) (from, to int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	low, high, ranged := strings.Cut(text, "-")
	a, err1 := strconv.ParseUint(low, 10, 16)
	b, err2 := a, error(nil)
	if ranged {
		b, err2 = strconv.ParseUint(high, 10, 16)
	}
	if err1 != nil || err2 != nil || b < a {
		return 0, 0, badRequest("invalid port specification: %q", text)
	}
	return int(a), int(b), nil
}

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
	binding := s.hostBinding(st)
	for p, list := range bindings {
		proto, ok := protocols[p.Proto()]
		if !ok {
			return nil, false, badRequest("invalid proto: %s", p.Proto())
		}
		if len(list) == 0 {
			list = []dn.PortBinding{{}}
		}
		for _, b := range list {
			out := network.Port{Protocol: proto, Container: p.Num(), HostIP: b.HostIP.Unmap()}
			if !b.HostIP.IsValid() {
				out.HostIP = binding
			}
			from, to, err := hostPorts(b.HostPort)
			if err != nil {
				return nil, false, err
			}
			if to == 0 {
				out.Host, picked = s.anyPort(ports, out), true
			} else {
				out.Host = s.freePort(ports, out, max(from, 1), to)
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

// anyPort is a free port of those that the system gives away.
func (s *Server) anyPort(mine []network.Port, p network.Port) uint16 {
	for range 64 {
		var b [4]byte
		_, _ = rand.Read(b[:])
		p.Host = uint16(firstPort + binary.BigEndian.Uint32(b[:])%(lastPort-firstPort+1))
		if s.free(mine, p) {
			break
		}
	}
	return p.Host
}

// freePort is the first free port of a range; the last one where none is.
func (s *Server) freePort(mine []network.Port, p network.Port, from, to int) uint16 {
	for n := from; n < to; n++ {
		if p.Host = uint16(n); s.free(mine, p) {
			return p.Host
		}
	}
	return uint16(to)
}

func (s *Server) free(mine []network.Port, p network.Port) bool {
	if slices.ContainsFunc(mine, func(q network.Port) bool { return q.Protocol == p.Protocol && q.Host == p.Host }) {
		return false
	}
	return s.e == nil || s.e.Networks == nil || s.e.Networks.Free(p) // without networks nothing is published
}

// hostBinding is the address that a container's ports are published at when none is named: an option of the network that leads out.
func (s *Server) hostBinding(st *stored) netip.Addr {
	lead, best := (*net_)(nil), 0
	for id, e := range st.Networks {
		n, err := s.network(id)
		if err != nil || n.spec.Driver != network.Bridge || n.Internal {
			continue
		}
		if lead == nil || e.GwPriority > best || e.GwPriority == best && n.Name < lead.Name {
			lead, best = &n, e.GwPriority
		}
	}
	if lead != nil {
		if a, err := netip.ParseAddr(lead.Options[optHostIPv4]); err == nil && !a.IsUnspecified() {
			return a
		}
	}
	return netip.Addr{}
}

// addressOf is the address that a published port is shown at.
func addressOf(p network.Port) netip.Addr {
	if p.HostIP.IsValid() {
		return p.HostIP
	}
	return netip.IPv4Unspecified()
}

// networking begins what is said of a container's network at its start.
const networking = "failed to set up container networking: "

// placeError words what went wrong with the network.
func placeError(r *container.Record, ports []network.Port, err error) error {
	where, proto := "", network.TCP
	for _, p := range ports {
		if strings.Contains(err.Error(), "publish port "+p.String()+" ") || strings.Contains(err.Error(), "publish port "+p.String()+":") {
			where, proto = netip.AddrPortFrom(addressOf(p), p.Host).String(), p.Protocol
		}
	}
	what := ""
	switch {
	case errors.Is(err, network.ErrPortTaken):
		what = fmt.Sprintf("Bind for %s failed: port is already allocated", where)
	case errors.Is(err, network.ErrPortBusy):
		what = fmt.Sprintf("failed to bind host port %s/%s: address already in use", where, proto)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		what = fmt.Sprintf("failed to bind host port %s/%s: cannot assign requested address", where, proto)
	case errors.Is(err, network.ErrAddressTaken):
		return fail(http.StatusForbidden, networking+"Address already in use")
	case errors.Is(err, network.ErrNoAddress):
		return fail(http.StatusInternalServerError, networking+"no available IPv4 addresses on this network's address pools")
	default:
		return fmt.Errorf(networking+"%w", err)
	}
	return fail(http.StatusInternalServerError, networking+"driver failed programming external connectivity on endpoint %s (%s): %s", r.Config.Name, r.ID, what)
}
