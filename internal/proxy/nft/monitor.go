package nft

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// monitor listens to what others do to nf_tables. What the table's own socket does is filtered out in the kernel, so that the
// monitor sleeps unless somebody else is at work.
type monitor struct {
	file *os.File
	done chan struct{}
}

// watch calls disturbed whenever something of the table was deleted by another than the socket with the number own, or when so much happened
// that this cannot be told.
func watch(table string, own uint32, disturbed func()) (*monitor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open nftables monitor: %w", err)
	}
	fail := func(what string, err error) (*monitor, error) {
		unix.Close(fd)
		return nil, fmt.Errorf("%s nftables monitor: %w", what, err)
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, notFrom(own)); err != nil {
		return fail("filter", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)}); err != nil {
		return fail("bind", err)
	}
	m := &monitor{os.NewFile(uintptr(fd), "nftables monitor"), make(chan struct{})}
	go m.run(table, disturbed)
	return m, nil
}

// notFrom is a socket filter that drops messages whose sender, at offset 12 of the netlink header, is port. (The program loads in
// network byte order what the header has in the host's.)
func notFrom(port uint32) *unix.SockFprog {
	swapped := be.Uint32(ne.AppendUint32(nil, port))
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: swapped, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	return &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
}

func (m *monitor) run(table string, disturbed func()) {
	defer close(m.done)
	raw, err := m.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 1<<16)
	for {
		var n int
		var got error
		if err := raw.Read(func(fd uintptr) bool {
			n, _, got = unix.Recvfrom(int(fd), buf, 0)
			return got != unix.EAGAIN
		}); err != nil {
			return // closed
		}
		if got == unix.ENOBUFS {
			disturbed()
			continue
		}
		if got == nil && harms(buf[:n], table) {
			disturbed()
		}
	}
}

// harms tells whether the messages delete something of the table.
func harms(buf []byte, table string) bool {
	for len(buf) >= 20 {
		size := int(ne.Uint32(buf))
		if size < 20 || size > len(buf) {
			return false
		}
		switch kind := ne.Uint16(buf[4:]); kind {
		case nftMsg(unix.NFT_MSG_DELTABLE), nftMsg(unix.NFT_MSG_DELCHAIN), nftMsg(unix.NFT_MSG_DELRULE), nftMsg(unix.NFT_MSG_DELSET), nftMsg(unix.NFT_MSG_DELSETELEM):
			if names := texts(buf[20:size]); len(names) > 0 && names[0] == table {
				return true
			}
		}
		buf = buf[min(align(size), len(buf)):]
	}
	return false
}

func nftMsg(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

func (m *monitor) close() {
	m.file.Close()
	<-m.done
}
