package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sort"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"nau/internal/engine/diskuse"
)

// Prepare makes the writable layer for key over parent (diff IDs, bottom first; nil = empty). ErrExists if the key is taken, ErrNotFound if a
// parent layer is not here.
func (s *Store) Prepare(ctx context.Context, key string, parent []digest.Digest, opts ...Option) (Mount, error) {
	want := Snapshot{Key: key, Parent: slices.Clone(parent), Created: time.Now().UTC()}
	for _, o := range opts {
		o(&want)
	}
	if key == "" {
		return Mount{}, fmt.Errorf("prepare snapshot: empty key")
	}
	if !want.Owners.IsZero() {
		if err := errors.Join(want.Owners.Check(), s.CanMapOwners()); err != nil {
			return Mount{}, fmt.Errorf("prepare snapshot %s: %w", key, err)
		}
	}
	// Held until the snapshot itself keeps them.
	lease := s.Lease()
	defer lease.Release()
	lease.Hold(parent...)
	if err := ctx.Err(); err != nil {
		return Mount{}, fmt.Errorf("prepare snapshot %s: %w", key, context.Cause(ctx))
	}
	n := s.number()
	e := &snapshotEntry{name: "s" + n, rec: snapshotRecord{Key: key, Parent: want.Parent, Volatile: want.Volatile, Labels: maps.Clone(want.Labels), Owners: want.Owners, Created: want.Created}}
	s.mu.Lock()
	_, taken := s.snapshots[key]
	s.mu.Unlock()
	if taken {
		return Mount{}, fmt.Errorf("prepare snapshot %s: %w", key, ErrExists)
	}
	m, err := s.mount(e)
	if err != nil {
		return Mount{}, fmt.Errorf("prepare snapshot %s: %w", key, err)
	}
	tmp, err := s.begin(n)
	if err == nil {
		err = fillSnapshot(tmp, s.topRoot(parent), e.rec, want.lasting)
	}
	if err != nil {
		_ = removePath(tmp)
		return Mount{}, fmt.Errorf("prepare snapshot %s: %w", key, err)
	}
	s.mu.Lock()
	_, taken = s.snapshots[key]
	if !taken {
		if err = os.Rename(tmp, s.path(e.name)); err == nil {
			s.snapshots[key] = e
		}
	}
	s.mu.Unlock()
	if taken {
		err = ErrExists
	}
	if err != nil {
		_ = removePath(tmp)
		return Mount{}, fmt.Errorf("prepare snapshot %s: %w", key, err)
	}
	return m, nil
}

// topRoot finds the root directory that the container sees: the upper directory's own attributes are what "/" shows.
func (s *Store) topRoot(parent []digest.Digest) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range slices.Backward(parent) {
		if l, ok := s.layers[d]; ok && !slices.Contains(l.rec.Implied, "") {
			return s.path(l.name, "fs")
		}
	}
	return ""
}

// fillSnapshot makes what is a snapshot's own: the upper directory and the record.
func fillSnapshot(tmp, like string, rec snapshotRecord, lasting bool) error {
	upper := tmp + "/u"
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	mode, uid, gid := uint32(0o755), 0, 0
	if like != "" {
		var st unix.Stat_t
		if err := unix.Stat(like, &st); err != nil {
			return fmt.Errorf("stat %s: %w", like, err)
		}
		mode, uid, gid = st.Mode&0o7777, int(st.Uid), int(st.Gid)
	}
	uid, gid, ok := rec.Owners.Host(uid, gid)
	if !ok { // an image whose root directory is nobody's here: its container's root has it
		root := rec.Owners.Root()
		uid, gid = root.UID, root.GID
	}
	if uid != 0 || gid != 0 {
		if err := os.Chown(upper, uid, gid); err != nil {
			return err
		}
	}
	if err := unix.Chmod(upper, mode); err != nil {
		return fmt.Errorf("set mode of %s: %w", upper, err)
	}
	return writeRecord(tmp+"/snapshot.json", rec, lasting)
}

// Mounts answers Prepare's answer again, after a restart for instance. A volatile snapshot that was mounted before is made mountable again.
func (s *Store) Mounts(ctx context.Context, key string) (Mount, error) {
	e, err := s.snapshot(key)
	if err != nil {
		return Mount{}, err
	}
	m, err := s.mount(e)
	if err != nil {
		return Mount{}, fmt.Errorf("mount snapshot %s: %w", key, err)
	}
	if e.rec.Volatile {
		// overlayfs leaves this behind when it was not unmounted cleanly, and refuses the next mount (overlayfs.rst, "Volatile mount").
		if err := removePathIfParent(m.Work + "/work/incompat/volatile"); err != nil {
			return Mount{}, fmt.Errorf("mount snapshot %s: %w", key, err)
		}
	}
	return m, nil
}

func removePathIfParent(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return removePath(path)
}

func (s *Store) snapshot(key string) (*snapshotEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.snapshots[key]
	if !ok {
		return nil, fmt.Errorf("find snapshot %s: %w", key, ErrNotFound)
	}
	return e, nil
}

// mount works out the directories. Layers that made nothing are left out, and of a layer that comes twice only the upper one counts: overlayfs
// refuses one directory twice, and the lower one never shows.
func (s *Store) mount(e *snapshotEntry) (Mount, error) {
	m := Mount{Upper: s.path(e.name, "u"), Work: s.path(e.name, "w"), Volatile: e.rec.Volatile, Owners: e.rec.Owners, Base: s.cfg.Dir}
	chain, err := s.chain(e.rec.Parent)
	if err != nil {
		return Mount{}, err
	}
	fix, err := s.fix(chain)
	if err != nil {
		return Mount{}, err
	}
	if fix != "" {
		m.Lower = append(m.Lower, fix)
	}
	for _, l := range chain {
		m.Lower = append(m.Lower, s.path(l.name, "fs"))
	}
	if len(m.Lower) == 0 {
		m.Lower = []string{s.path("e")}
	}
	return m, nil
}

// chain resolves diff IDs to the layers that matter, top first.
func (s *Store) chain(parent []digest.Digest) ([]*layerEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var chain []*layerEntry
	for _, d := range slices.Backward(parent) {
		l, ok := s.layers[d]
		if !ok {
			return nil, fmt.Errorf("find layer %s: %w", d, ErrNotFound)
		}
		if l.rec.Inodes == 0 || slices.Contains(chain, l) {
			continue
		}
		chain = append(chain, l)
	}
	return chain, nil
}

// Lower answers the lower directories of a chain, top first, for a read-only view.
func (s *Store) Lower(parent []digest.Digest) ([]string, error) {
	m, err := s.mount(&snapshotEntry{rec: snapshotRecord{Parent: parent}})
	if err != nil {
		return nil, fmt.Errorf("find lower directories: %w", err)
	}
	return m.Lower, nil
}

// Remove frees the snapshot. It must not be mounted. A missing key is no error.
func (s *Store) Remove(key string) error {
	s.mu.Lock()
	e, ok := s.snapshots[key]
	if !ok {
		s.mu.Unlock()
		return nil
	}
	tmp := s.path("t" + e.name[1:])
	err := os.Rename(s.path(e.name), tmp)
	if err == nil {
		delete(s.snapshots, key)
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("remove snapshot %s: %w", key, err)
	}
	if clearUnused(tmp) {
		s.spare(tmp)
		return nil
	}
	if err := removePath(tmp); err != nil {
		return fmt.Errorf("remove snapshot %s: %w", key, err)
	}
	return nil
}

// Snapshots lists all snapshots, oldest first.
func (s *Store) Snapshots() []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Snapshot, 0, len(s.snapshots))
	for _, e := range s.snapshots {
		all = append(all, e.public())
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Created.Before(all[j].Created) })
	return all
}

func (e *snapshotEntry) public() Snapshot {
	return Snapshot{Key: e.rec.Key, Parent: slices.Clone(e.rec.Parent), Volatile: e.rec.Volatile, Created: e.rec.Created, Labels: maps.Clone(e.rec.Labels), Owners: e.rec.Owners}
}

// Snapshot finds one snapshot's record. ErrNotFound.
func (s *Store) Snapshot(key string) (Snapshot, error) {
	e, err := s.snapshot(key)
	if err != nil {
		return Snapshot{}, err
	}
	return e.public(), nil
}

// Usage walks the snapshot's upper directory.
func (s *Store) Usage(ctx context.Context, key string) (Usage, error) {
	e, err := s.snapshot(key)
	if err != nil {
		return Usage{}, err
	}
	b, n, err := diskuse.Of(s.path(e.name, "u"))
	if err != nil {
		return Usage{}, fmt.Errorf("measure snapshot %s: %w", key, err)
	}
	return Usage{Bytes: b, Inodes: n}, nil
}
