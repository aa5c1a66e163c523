package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/sys/unix"
)

// Link is a network device on its way from one network namespace to another. The few messages of rtnetlink(7) that this takes are written here,
// since the runtime's executable is to stay small.
type Link struct {
	name      string // where it comes from
	index     uint32
	passing   string   // its name while it is moved: no other device has it
	addresses [][]byte // what RTM_NEWADDR said of each, to be said again
}

// HasLink tells whether the calling thread's network namespace has a device of this name.
func HasLink(name string) (bool, error) {
	_, err := linkIndex(name)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil, err
}

func linkIndex(name string) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("find network device %s: %w", name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("find network device %q: the name is malformed: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, fmt.Errorf("find network device %s: %w", name, err)
	}
	return request.Uint32(), nil
}

// FindLink takes note of a device of the calling thread's network namespace: of its permanent addresses that are good everywhere.
func FindLink(name string) (*Link, error) {
	index, err := linkIndex(name)
	if err != nil {
		return nil, err
	}
	l := &Link{name: name, index: index, passing: fmt.Sprintf("nau%08x", rand.Uint32())}
	answers, err := rtnetlink(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, fmt.Errorf("read addresses of network device %s: %w", name, err)
	}
	for _, a := range answers {
		if kept := keepAddress(a, index); kept != nil {
			l.addresses = append(l.addresses, kept)
		}
	}
	return l, nil
}

// keepAddress gives an address's message without what is the old namespace's: the label, which has the old name in it, and the figures of the kernel.
// It is nil for one that is not to be moved. The message is struct ifaddrmsg (linux/if_addr.h) and attributes.
func keepAddress(message []byte, index uint32) []byte {
	if len(message) < unix.SizeofIfAddrmsg || binary.NativeEndian.Uint32(message[4:]) != index || message[3] != unix.RT_SCOPE_UNIVERSE {
		return nil
	}
	flags := uint32(message[2])
	kept := append([]byte{}, message[:unix.SizeofIfAddrmsg]...)
	for rest := message[unix.SizeofIfAddrmsg:]; len(rest) >= unix.SizeofRtAttr; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < unix.SizeofRtAttr || size > len(rest) {
			return nil
		}
		switch kind {
		case unix.IFA_FLAGS:
			if size >= 8 {
				flags = binary.NativeEndian.Uint32(rest[4:])
			}
			kept = append(kept, padded(rest[:size])...)
		case unix.IFA_LOCAL, unix.IFA_ADDRESS, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY:
			kept = append(kept, padded(rest[:size])...)
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	if flags&unix.IFA_F_PERMANENT == 0 {
		return nil
	}
	return kept
}

func padded(b []byte) []byte {
	return append(append([]byte{}, b...), make([]byte, (4-len(b)%4)%4)...)
}

// Move moves the device from the calling thread's network namespace into another, by its descriptor. It is down there, until Settle.
func (l *Link) Move(namespace int) error {
	err := setLink(l.index, 0, attribute(unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(namespace))), attribute(unix.IFLA_IFNAME, append([]byte(l.passing), 0)))
	if err != nil {
		return fmt.Errorf("move network device %s: %w", l.name, err)
	}
	return nil
}

// Settle names a device that was moved into the calling thread's network namespace, gives it its addresses again and turns it on. A name with %d is
// made unique by the kernel.
func (l *Link) Settle(name string) error {
	index, err := linkIndex(l.passing)
	if err != nil {
		return err
	}
	if err := setLink(index, 0, attribute(unix.IFLA_IFNAME, append([]byte(name), 0))); err != nil {
		return fmt.Errorf("name network device %s %s: %w", l.name, name, err)
	}
	for _, a := range l.addresses {
		binary.NativeEndian.PutUint32(a[4:], index)
		if _, err := rtnetlink(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, a); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("give network device %s its address: %w", name, err)
		}
	}
	if err := setLink(index, unix.IFF_UP); err != nil {
		return fmt.Errorf("turn on network device %s: %w", name, err)
	}
	return nil
}

// LinkNameTaken: a device of this name would have to be the one that is there. A template has room for more.
func LinkNameTaken(name string) (bool, error) {
	if strings.Contains(name, "%d") {
		return false, nil
	}
	return HasLink(name)
}

func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	return padded(append(binary.NativeEndian.AppendUint16(b, kind), value...))
}

// setLink changes a device: struct ifinfomsg (linux/rtnetlink.h) with flags to set, and attributes.
func setLink(index uint32, flags uint32, attributes ...[]byte) error {
	message := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(message[4:], index)
	binary.NativeEndian.PutUint32(message[8:], flags)
	binary.NativeEndian.PutUint32(message[12:], flags)
	for _, a := range attributes {
		message = append(message, a...)
	}
	_, err := rtnetlink(unix.RTM_SETLINK, 0, message)
	return err
}

// rtnetlink sends a request in the calling thread's network namespace and gives the payloads of the answers (netlink(7)).
func rtnetlink(kind, flags uint16, payload []byte) (answers [][]byte, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	defer unix.Close(fd)
	if flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
		flags |= unix.NLM_F_ACK
	}
	message := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(payload)))
	message = binary.NativeEndian.AppendUint16(message, kind)
	message = binary.NativeEndian.AppendUint16(message, flags|unix.NLM_F_REQUEST)
	message = append(message, make([]byte, 8)...) // sequence number and sender: there is one request to a socket
	if err := unix.Sendto(fd, append(message, payload...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("ask rtnetlink: %w", err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read rtnetlink: %w", err)
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofNlMsghdr; {
			size, kind := int(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint16(rest[4:])
			if size < unix.SizeofNlMsghdr || size > len(rest) {
				return nil, errors.New("read rtnetlink: malformed answer")
			}
			body := rest[unix.SizeofNlMsghdr:size]
			switch {
			case kind == unix.NLMSG_DONE:
				return answers, nil
			case kind == unix.NLMSG_ERROR && len(body) >= 4:
				if e := int32(binary.NativeEndian.Uint32(body)); e != 0 {
					return nil, unix.Errno(-e)
				}
				return answers, nil
			}
			answers = append(answers, append([]byte{}, body...))
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}
