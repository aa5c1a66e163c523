package layer

import (
	"archive/tar"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/idmap"
)

// A snapshot of a user namespace: its lower directories are shared with everybody and shown through a mapped mount; its upper directory is its own, and
// holds the ids that the host sees, because overlayfs makes files there as whoever mounted it. So every way out of an upper directory turns ids inward,
// and every way in turns them outward. See docs/decisions/025-user-namespaces.md.

// CanMapOwners tells, once, whether snapshots can belong to user namespaces here: the kernel and the file system below the store decide.
func (s *Store) CanMapOwners() error {
	s.mapOnce.Do(func() {
		if s.mapErr = s.tryOwners(); s.mapErr != nil {
			s.mapErr = fmt.Errorf("%w: show layers below %s to a user namespace (needs Linux 5.19 and a file system that takes mapped mounts): %w",
				kernel.ErrCannot, s.cfg.Dir, s.mapErr)
		}
	})
	return s.mapErr
}

func (s *Store) tryOwners() error {
	if err := kernel.UserNS.Check(); err != nil {
		return err
	}
	tmp, err := s.begin(s.number())
	if err == nil {
		defer removePath(tmp)
		err = fillSnapshot(tmp, "", snapshotRecord{}, false)
	}
	if err != nil {
		return err
	}
	m := Mount{Lower: []string{s.path("e")}, Upper: tmp + "/u", Work: tmp + "/w", Base: s.cfg.Dir, Owners: idmap.Block(1<<16, 1<<16, 1<<16)}
	tree, err := m.Tree(0)
	if err != nil {
		return err
	}
	return tree.Close()
}

// outward turns the owner and the capabilities of an archive's entry into the host's.
func (l *live) outward(h *tar.Header) error {
	if l.Owners.IsZero() {
		return nil
	}
	uid, gid, ok := l.Owners.Host(h.Uid, h.Gid)
	if !ok {
		return fmt.Errorf("owner %d:%d of %q has no place in the container's user namespace", h.Uid, h.Gid, h.Name)
	}
	h.Uid, h.Gid = uid, gid
	if v, ok := h.PAXRecords[xattrRecord+capability]; ok {
		h.PAXRecords[xattrRecord+capability] = string(capsOutward([]byte(v), uint32(l.Owners.Root().UID)))
	}
	return nil
}

// give lets a directory that an archive implies, and does not describe, belong to the root of the user namespace.
func (u *unpacker) give(parent int, base string) error {
	if u.live == nil || u.live.Owners.IsZero() {
		return nil
	}
	root := u.live.Owners.Root()
	if err := unix.Fchownat(parent, base, root.UID, root.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	return nil
}

const capability = "security.capability"

// xattr is an attribute's value as the archive's reader is to see it; false leaves it out.
func (a *archiver) xattr(name string, v []byte) (string, bool) {
	if name != capability || a.owners.IsZero() {
		return string(v), true
	}
	v, ok := capsInward(v, uint32(a.owners.Root().UID))
	return string(v), ok
}

// File capabilities, linux/capability.h: a revision in the top byte of the first word; revision 3 has one more word at the end, the user who is root of
// the namespace that they count in.
const (
	capRevision  = 0xff000000
	capRevision2 = 0x02000000
	capRevision3 = 0x03000000
	capSize2     = 20
	capSize3     = 24
)

// capsOutward makes capabilities count in the namespace whose root is the host's user root.
func capsOutward(v []byte, root uint32) []byte {
	if len(v) != capSize2 || binary.LittleEndian.Uint32(v)&capRevision != capRevision2 {
		return v
	}
	out := binary.LittleEndian.AppendUint32(append([]byte{}, v...), root)
	binary.LittleEndian.PutUint32(out, binary.LittleEndian.Uint32(v)&^capRevision|capRevision3)
	return out
}

// capsInward is the way back. Capabilities that count elsewhere are nobody's in there: false.
func capsInward(v []byte, root uint32) ([]byte, bool) {
	if len(v) != capSize3 || binary.LittleEndian.Uint32(v)&capRevision != capRevision3 {
		return nil, false
	}
	if binary.LittleEndian.Uint32(v[capSize2:]) != root {
		return nil, false
	}
	out := append([]byte{}, v[:capSize2]...)
	binary.LittleEndian.PutUint32(out, binary.LittleEndian.Uint32(v)&^capRevision|capRevision2)
	return out, true
}
