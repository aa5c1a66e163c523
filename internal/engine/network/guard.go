package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Guard notices when somebody else deletes the packet rules ("nft flush ruleset"), and writes them anew. It sleeps until the
// kernel tells of a deletion, and returns when ctx ends.
func (m *Manager) Guard(ctx context.Context) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	f := os.NewFile(uintptr(fd), "nftables events") // non-blocking: reads wait in the runtime's poller
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)}); err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // events were lost: look
		case err != nil:
			return fmt.Errorf("watch nftables: %w", err)
		case !deletes(buf[:n], m.cfg.Instance):
			continue
		}
		if m.nft.stands() {
			continue // it was our own rebuild
		}
		m.cfg.Log.Warn("packet rules were deleted by somebody else: writing them anew", "table", m.cfg.Instance)
		if err := m.Rebuild(); err != nil {
			m.cfg.Log.Error("rebuild packet rules", "error", err)
		}
	}
}

// deletes reports whether a batch of nftables notifications deletes the table, or a chain or rule of it.
func deletes(b []byte, table string) bool {
	const header, attrs = unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN + 4 // struct nfgenmsg
	for len(b) >= header {
		length := int(binary.NativeEndian.Uint32(b))
		kind := binary.NativeEndian.Uint16(b[4:])
		if length < header || length > len(b) {
			return false
		}
		msg := b[:length]
		b = b[min(len(b), (length+3)&^3):]
		if kind>>8 != unix.NFNL_SUBSYS_NFTABLES || length < attrs {
			continue
		}
		switch kind & 0xff {
		case unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE:
		default:
			continue
		}
		for a := msg[attrs:]; len(a) >= 4; {
			n, attr := int(binary.NativeEndian.Uint16(a)), binary.NativeEndian.Uint16(a[2:])
			if n < 4 || n > len(a) {
				break
			}
			// The table's name is attribute 1 of tables, chains and rules alike.
			if attr == 1 && string(bytes.TrimRight(a[4:n], "\x00")) == table {
				return true
			}
			a = a[min(len(a), (n+3)&^3):]
		}
	}
	return false
}

// stands reports whether the table has its rules.
func (f *filter) stands() bool {
	conn, err := nftables.New()
	if err != nil {
		return false
	}
	for _, chain := range []string{"prerouting", "output", "postrouting", "hostports", "guard", "forward", "local"} {
		rules, err := conn.GetRules(f.table, &nftables.Chain{Name: chain, Table: f.table})
		if err != nil || len(rules) == 0 {
			return false
		}
	}
	return true
}
