package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket to nf_tables in the network namespace of the thread that opened it.
type socket struct {
	fd   int
	port uint32
	seq  uint32
	in   []byte
}

// sendBuffer holds one transaction of any size we make: ten thousand services.
const sendBuffer = 256 << 20

func dial() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	s := &socket{fd: fd, seq: 1, in: make([]byte, 1<<16)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind netfilter socket: %w", err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("name netfilter socket: %w", err)
	}
	s.port = addr.(*unix.SockaddrNetlink).Pid
	// Without the right to force it the system's limit holds, and only very large clusters notice.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
	return s, nil
}

func (s *socket) Close() error { return unix.Close(s.fd) }

// commit sends a batch. The kernel has done all of it, or nothing, when this returns: it works while it is sent to.
func (s *socket) commit(b *batch) error {
	buf, ack := b.seal()
	s.seq = b.seq
	if err := unix.Sendto(s.fd, buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send nftables transaction of %d bytes: %w", len(buf), err)
	}
	var errs []error
	for done := false; !done; {
		n, _, err := unix.Recvfrom(s.fd, s.in, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN { // the answers are in the queue before the call returns: there are no more
			break
		}
		if err != nil {
			return fmt.Errorf("receive answer of nftables: %w", err)
		}
		for m := s.in[:n]; len(m) >= unix.SizeofNlMsghdr; {
			size := int(ne.Uint32(m))
			if size < unix.SizeofNlMsghdr || size > len(m) {
				return errors.New("receive answer of nftables: broken message")
			}
			if ne.Uint16(m[4:]) == unix.NLMSG_ERROR && size >= unix.SizeofNlMsghdr+4 {
				seq := ne.Uint32(m[8:])
				code := int32(ne.Uint32(m[unix.SizeofNlMsghdr:]))
				if code != 0 && len(errs) < 5 {
					errs = append(errs, fmt.Errorf("%s: %w", describe(buf, seq), unix.Errno(-code)))
				}
				done = done || seq == ack
			}
			m = m[min(align(size), len(m)):]
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("commit nftables transaction: %w", errors.Join(errs...))
	}
	return nil
}

func align(n int) int { return (n + 3) &^ 3 }

// describe names the message of a transaction that the kernel did not like.
func describe(buf []byte, seq uint32) string {
	for m := buf; len(m) >= 20; {
		size := int(ne.Uint32(m))
		if ne.Uint32(m[8:]) == seq {
			kind := ne.Uint16(m[4:]) & 0xff
			return fmt.Sprintf("%s %q", kindNames[kind], texts(m[20:size]))
		}
		m = m[align(size):]
	}
	return "unknown message"
}

var kindNames = map[uint16]string{
	unix.NFT_MSG_NEWTABLE: "add table", unix.NFT_MSG_DELTABLE: "delete table", unix.NFT_MSG_NEWCHAIN: "add chain", unix.NFT_MSG_DELCHAIN: "delete chain",
	unix.NFT_MSG_NEWRULE: "add rule", unix.NFT_MSG_DELRULE: "delete rule", unix.NFT_MSG_NEWSET: "add set", unix.NFT_MSG_DELSET: "delete set",
	unix.NFT_MSG_NEWSETELEM: "add element", unix.NFT_MSG_DELSETELEM: "delete element",
}

// texts collects the first attributes of a message that are names: table, chain or set.
func texts(attrs []byte) (out []string) {
	for len(attrs) >= 4 && len(out) < 3 {
		size := int(ne.Uint16(attrs))
		if size < 4 || size > len(attrs) {
			break
		}
		if v := attrs[4:size]; len(v) > 1 && v[len(v)-1] == 0 && v[0] >= ' ' && v[0] < 127 && ne.Uint16(attrs[2:])&unix.NLA_F_NESTED == 0 {
			out = append(out, string(v[:len(v)-1]))
		}
		attrs = attrs[min(align(size), len(attrs)):]
	}
	return out
}

// errGone tells whether a transaction failed because something was not there (any more).
func errGone(err error) bool { return errors.Is(err, unix.ENOENT) }
