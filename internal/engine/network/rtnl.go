package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rtnl is one rtnetlink socket. It stays in the namespace that it was opened in. Several requests travel in one message: the
// kernel works them off during the send, in order.
type rtnl struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte
}

func openRtnl() (*rtnl, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind rtnetlink: %w", err)
	}
	// The kernel need not quote the request in its answer; that keeps answers small.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return &rtnl{fd: fd, buf: make([]byte, 16<<10)}, nil
}

func (r *rtnl) close() { unix.Close(r.fd) }

// request is one step of a batch. Errnos in ok count as success.
type request struct {
	what string
	msg  *nl.NetlinkRequest
	ok   []unix.Errno
}

// do sends the requests together and returns the first one's error that is not tolerated, after all have been worked off.
func (r *rtnl) do(reqs ...request) error {
	if len(reqs) == 0 {
		return nil
	}
	_, err := r.exchange(reqs)
	return err
}

// exchange is do, and returns the payloads that the kernel answered with beside acknowledgements, in order.
func (r *rtnl) exchange(reqs []request) ([][]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []byte
	first := r.seq + 1
	for _, q := range reqs {
		r.seq++
		q.msg.Seq = r.seq
		q.msg.Flags |= unix.NLM_F_REQUEST | unix.NLM_F_ACK
		out = append(out, q.msg.Serialize()...)
	}
	if err := unix.Sendto(r.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("send to rtnetlink: %w", err)
	}
	var result error
	var answers [][]byte
	for acked := 0; acked < len(reqs); {
		n, _, err := unix.Recvfrom(r.fd, r.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive from rtnetlink: %w", err)
		}
		for b := r.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(b))
			kind := binary.NativeEndian.Uint16(b[4:])
			flags := binary.NativeEndian.Uint16(b[6:])
			seq := binary.NativeEndian.Uint32(b[8:])
			if length < unix.NLMSG_HDRLEN || length > len(b) {
				return nil, fmt.Errorf("read rtnetlink answer: bad length %d", length)
			}
			body := b[unix.NLMSG_HDRLEN:length]
			b = b[min(len(b), (length+3)&^3):]
			i := int(seq - first)
			if i < 0 || i >= len(reqs) {
				continue // the tail of an earlier, broken exchange
			}
			if kind != unix.NLMSG_ERROR {
				answers = append(answers, append([]byte(nil), body...))
				continue
			}
			acked++
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
			if errno == 0 || tolerated(errno, reqs[i].ok) || result != nil {
				continue
			}
			if why := extack(body, flags); why != "" {
				result = fmt.Errorf("%s: %w (%s)", reqs[i].what, errno, why)
			} else {
				result = fmt.Errorf("%s: %w", reqs[i].what, errno)
			}
		}
	}
	return answers, result
}

func tolerated(e unix.Errno, ok []unix.Errno) bool {
	for _, o := range ok {
		if e == o {
			return true
		}
	}
	return false
}

// extack reads the kernel's sentence from an error message: errno, the request's header (capped), attributes.
func extack(body []byte, flags uint16) string {
	const acktlvs, capped = 0x200, 0x100
	if flags&acktlvs == 0 || flags&capped == 0 || len(body) < 20 {
		return ""
	}
	for b := body[20:]; len(b) >= 4; {
		n, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < 4 || n > len(b) {
			return ""
		}
		if kind == 1 && n > 5 { // NLMSGERR_ATTR_MSG
			return string(b[4 : n-1])
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return ""
}

func str(s string) []byte { return append([]byte(s), 0) }

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// linkAttrs are what newVeth and newBridge share.
type linkAttrs struct {
	name string
	mac  net.HardwareAddr
	mtu  int
}

func (a linkAttrs) addTo(add func(kind int, data []byte) *nl.RtAttr) {
	add(unix.IFLA_IFNAME, str(a.name))
	if a.mac != nil {
		add(unix.IFLA_ADDRESS, a.mac)
	}
	if a.mtu > 0 {
		add(unix.IFLA_MTU, u32(uint32(a.mtu)))
	}
}

func newLink(kind string, a linkAttrs) (*nl.NetlinkRequest, *nl.IfInfomsg, *nl.RtAttr) {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	req.AddData(msg)
	a.addTo(func(kind int, data []byte) *nl.RtAttr {
		attr := nl.NewRtAttr(kind, data)
		req.AddData(attr)
		return attr
	})
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, str(kind))
	return req, msg, info
}

// newVeth makes a pair, both ends down: the host's end in the bridge, the peer in the namespace of netnsFd.
func newVeth(host linkAttrs, bridge int, peer linkAttrs, netnsFd int) request {
	req, _, info := newLink("veth", host)
	if bridge > 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, u32(uint32(bridge))))
	}
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	p := data.AddRtAttr(nl.VETH_INFO_PEER, nil)
	p.AddChild(nl.NewIfInfomsg(unix.AF_UNSPEC))
	peer.addTo(p.AddRtAttr)
	p.AddRtAttr(unix.IFLA_NET_NS_FD, u32(uint32(netnsFd)))
	req.AddData(info)
	return request{what: "create veth " + host.name, msg: req}
}

func newBridge(a linkAttrs) request {
	req, _, info := newLink("bridge", a)
	req.AddData(info)
	return request{what: "create bridge " + a.name, msg: req, ok: []unix.Errno{unix.EEXIST}}
}

func linkUp(index int) request {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Flags, msg.Change = int32(index), unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	return request{what: "set link up", msg: req}
}

// quietUp sets a link up that never makes itself a link-local address: duplicate detection would fill the bridge with multicast at every
// start. Two requests, since the kernel looks at a message's flags first.
func quietUp(name string, v6 bool) []request {
	change := func(what string) (*nl.NetlinkRequest, *nl.IfInfomsg, request) {
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		req.AddData(msg)
		req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, str(name)))
		return req, msg, request{what: what + name, msg: req}
	}
	var out []request
	if v6 {
		req, _, q := change("set address generation of link ")
		spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
		spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{1})
		req.AddData(spec)
		out = append(out, q)
	}
	_, msg, q := change("set up link ")
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	return append(out, q)
}

// mutePort lets a bridge's port exchange frames with the host alone, and with no other port that is mute.
func mutePort(name string) request {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0) // SETLINK passes over what belongs to a port
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, str(name)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, str("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA|unix.NLA_F_NESTED, nil)
	data.AddRtAttr(unix.IFLA_BRPORT_ISOLATED, []byte{1})
	req.AddData(info)
	return request{what: "mute bridge port " + name, msg: req}
}

func delLink(name string) request {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, 0)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, str(name)))
	return request{what: "delete link " + name, msg: req, ok: []unix.Errno{unix.ENODEV, unix.ENOENT}}
}

func getLink(name string) request {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, str(name)))
	return request{what: "find link " + name, msg: req}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func addAddr(index int, p netip.Prefix) request {
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	msg := nl.NewIfAddrmsg(family(p.Addr()))
	msg.Index, msg.Prefixlen = uint32(index), uint8(p.Bits())
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice()))
	if p.Addr().Is6() {
		req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, u32(unix.IFA_F_NODAD)))
	} else if p.Bits() < 31 {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, lastOf(p).AsSlice()))
	}
	return request{what: "add address " + p.String(), msg: req, ok: []unix.Errno{unix.EEXIST}}
}

// neigh makes (or with del forgets) a permanent neighbour entry.
func neigh(index int, a netip.Addr, mac net.HardwareAddr, del bool) request {
	kind, flags, what := unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, "add neighbour "
	if del {
		kind, flags, what = unix.RTM_DELNEIGH, 0, "delete neighbour "
	}
	req := nl.NewNetlinkRequest(kind, flags)
	req.AddData(ndmsg(family(a), index))
	req.AddData(nl.NewRtAttr(unix.NDA_DST, a.AsSlice()))
	if mac != nil {
		req.AddData(nl.NewRtAttr(unix.NDA_LLADDR, mac))
	}
	q := request{what: what + a.String(), msg: req}
	if del {
		q.ok = []unix.Errno{unix.ENOENT, unix.ENODEV}
	}
	return q
}

// raw is a message part that is bytes already.
type raw []byte

func (r raw) Len() int          { return len(r) }
func (r raw) Serialize() []byte { return r }

func ndmsg(family, index int) raw {
	b := make([]byte, 12)
	b[0] = byte(family)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint16(b[8:], unix.NUD_PERMANENT)
	return b
}

// routeTag is the rtnetlink protocol number of every route that is made here.
const routeTag = 0x6e

// route is a route of the main table.
type route struct {
	to     netip.Prefix
	kind   uint8      // unix.RTN_UNICAST or RTN_UNREACHABLE
	dev    int        // 0 = none
	via    netip.Addr // invalid = on the link
	src    netip.Addr // invalid = the kernel's choice
	metric uint32
}

func (r route) request(del bool) request {
	kind, flags, verb := unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, "add"
	var ok []unix.Errno
	if del {
		kind, flags, verb = unix.RTM_DELROUTE, 0, "delete"
		ok = []unix.Errno{unix.ESRCH, unix.ENOENT, unix.ENODEV}
	}
	req := nl.NewNetlinkRequest(kind, flags)
	msg := nl.NewRtMsg()
	msg.Family, msg.Dst_len = uint8(family(r.to.Addr())), uint8(r.to.Bits())
	msg.Table, msg.Protocol, msg.Type = unix.RT_TABLE_MAIN, routeTag, r.kind
	msg.Scope = unix.RT_SCOPE_UNIVERSE
	if r.kind == unix.RTN_UNICAST && !r.via.IsValid() && r.to.Addr().Is4() {
		msg.Scope = unix.RT_SCOPE_LINK
	}
	if r.via.IsValid() {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	req.AddData(msg)
	if r.to.Bits() > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_DST, r.to.Addr().AsSlice()))
	}
	if r.dev > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, u32(uint32(r.dev))))
	}
	if r.via.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, r.via.AsSlice()))
	}
	if r.src.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, r.src.AsSlice()))
	}
	if r.metric > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, u32(r.metric)))
	}
	return request{what: verb + " route to " + r.to.String(), msg: req, ok: ok}
}

// found is what is known of a link.
type found struct {
	index int
	mac   net.HardwareAddr
	kind  string // "bridge", "veth"; "" for hardware
	stats Stats
}

// link finds a link's index and counters by its name.
func (r *rtnl) link(name string) (index int, stats Stats, err error) {
	f, err := r.find(name)
	return f.index, f.stats, err
}

// find finds a link by its name.
func (r *rtnl) find(name string) (found, error) {
	answers, err := r.exchange([]request{getLink(name)})
	if err != nil {
		return found{}, err
	}
	if len(answers) == 0 || len(answers[0]) < unix.SizeofIfInfomsg {
		return found{}, fmt.Errorf("find link %s: no answer", name)
	}
	msg := answers[0]
	out := found{index: int(int32(binary.NativeEndian.Uint32(msg[4:]))), stats: Stats{Link: name}}
	attrs, err := nl.ParseRouteAttr(msg[unix.SizeofIfInfomsg:])
	if err != nil {
		return found{}, fmt.Errorf("find link %s: %w", name, err)
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.IFLA_ADDRESS:
			out.mac = net.HardwareAddr(a.Value)
		case a.Attr.Type == unix.IFLA_LINKINFO:
			inner, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return found{}, fmt.Errorf("find link %s: %w", name, err)
			}
			for _, i := range inner {
				if i.Attr.Type == nl.IFLA_INFO_KIND {
					out.kind = strings.TrimRight(string(i.Value), "\x00")
				}
			}
		case a.Attr.Type == unix.IFLA_STATS64 && len(a.Value) >= 64:
			v := func(i int) uint64 { return binary.NativeEndian.Uint64(a.Value[i*8:]) }
			s := &out.stats
			s.RxPackets, s.TxPackets, s.RxBytes, s.TxBytes = v(0), v(1), v(2), v(3)
			s.RxErrors, s.TxErrors, s.RxDropped, s.TxDropped = v(4), v(5), v(6), v(7)
		}
	}
	return out, nil
}
