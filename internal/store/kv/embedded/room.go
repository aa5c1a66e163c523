package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"golang.org/x/sys/unix"

	"nau/internal/store/kv"
)

// etcd gives up for good when the disk does not take what it has acknowledged: pages of the database, the next file of its log, a snapshot of its log's
// state. So it never comes to that: room has the disk's blocks for all of them before a write is let in, and refuses the write where there are none. A
// deletion may use room that is kept for deletions. Each write that comes asks the disk again, so that all goes on by itself when there is room.
//
// That is exact where a file system keeps its word about blocks given in advance, as ext4, XFS and tmpfs do. Where it cannot give any, nothing is refused.
const (
	step        = 8 << 20   // the database is given blocks in such portions
	forPuts     = 6 << 20   // so much is there beyond what writes under way need: of it
	forDeletes  = 1 << 20   // this is not touched by deletions,
	forCompacts = 16 << 20  // and this is what a part of a compaction may write
	perWrite    = 1 << 10   // of pages beside the value's
	perEntry    = 256       // of the log
	overhang    = 1 << 20   // what is written at one time goes beyond the end of a file of the log
	lookEvery   = 1 << 20   // bytes of log between looks after its next files
	lastEntries = 4 << 20   // bytes of log that deletions may take while its next file but one is not there
	snapshotMin = 64 << 10  // etcd's snapshot of its log takes less
	plenty      = 16 << 20  // so much free disk nobody fills in the moment that such a snapshot takes
	lastRemoves = 1000      // entries before such a snapshot that are deletions', where there is no ballast for it
	ballastSize = 256 << 10 // given back before such a snapshot when there is less
)

// use is what a request is.
type use int

const (
	put use = iota
	remove
	compact
)

// room is the disk of one member.
type room struct {
	dir   string
	size  func() int64  // of the database, by its pages in use or free
	saves func() int64  // how often the database was written
	index func() uint64 // of the last entry of the log

	mu        sync.Mutex
	allocated int64  // so much of the database's file has blocks
	saved     int64  // of saves, when last asked
	pending   int64  // bytes that requests let in may have the database write at its next save, those not answered
	written   int64  // and those answered since the last
	logged    int64  // bytes of log since its next files were there
	flying    int    // requests let in and not answered,
	burden    int64  // and their bytes
	ballast   bool   // is there
	comes     bool   // a snapshot, for which the ballast went
	last      uint64 // index of the last snapshot that was seen
}

func (r *room) database() string { return filepath.Join(r.dir, "member", "snap", "db") }
func (r *room) logFile(n int) string {
	return filepath.Join(r.dir, "member", "wal", strconv.Itoa(n)+".tmp")
}
func (r *room) file(name string) string { return filepath.Join(r.dir, name) }
func (r *room) exists(name string) bool { _, err := os.Lstat(name); return err == nil }
func full(err error) bool               { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
func margin(u use) int64                { return [...]int64{forPuts, forDeletes, forCompacts}[u] }

// prepare readies what the log's next files stand on, before the member starts.
func (r *room) prepare() {
	if !r.exists(r.logFile(0)) && r.exists(r.logFile(1)) {
		_ = os.Rename(r.logFile(1), r.logFile(0)) // the one that etcd looks for first
	}
	if r.exists(filepath.Dir(r.logFile(0))) {
		_ = r.readyLog() // where that fails, writes are refused until there is room
		for n := range 2 {
			_ = blank(r.logFile(n))
		}
	}
	r.logged = lookEvery
}

// of tells the room whose it is.
func (r *room) of(server *etcdserver.EtcdServer) {
	r.size = func() int64 { return server.Backend().Size() }
	r.saves = func() int64 { return time.Now().Unix() } // one a second, where the database does not say
	if b, ok := server.Backend().(interface{ Commits() int64 }); ok {
		r.saves = b.Commits
	}
	r.index = server.CommittedIndex
}

// blank wipes the beginning of a file of the log that was not in use yet: a crash may have left the first lines of it there.
func blank(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 4<<10)
	if n, err := f.ReadAt(head, 0); err != nil || len(bytes.Trim(head[:n], "\x00")) == 0 {
		return err
	}
	_, err = f.WriteAt(make([]byte, len(head)), 0)
	return err
}

// enter lets a request of n bytes in, or tells why not. Its end is to be told of, and whether it wrote anything.
func (r *room) enter(u use, n int) (leave func(wrote bool), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cost := 2*int64(n) + perWrite
	if err := r.admit(u, int64(n), cost); full(err) {
		return nil, fmt.Errorf("%w: have room in %s %w", kv.ErrDiskFull, r.dir, err)
	} else if err != nil {
		return nil, fmt.Errorf("have room in %s %w", r.dir, err)
	}
	r.flying++
	r.burden += int64(n)
	r.pending += cost
	return func(wrote bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.flying--
		r.burden -= int64(n)
		r.pending -= cost
		if r.look(); wrote {
			r.written += cost
		}
	}, nil
}

func (r *room) admit(u use, n, cost int64) error {
	if err := r.forLog(u, n+perEntry); err != nil {
		return fmt.Errorf("for the log's next file: %w", err)
	}
	if err := r.forDatabase(u, cost); err != nil {
		return fmt.Errorf("for the database: %w", err)
	}
	if err := r.forSnapshot(u); err != nil {
		return fmt.Errorf("for a snapshot of the log: %w", err)
	}
	return nil
}

// look sees whether the database was saved since: then what was written before is part of its size.
func (r *room) look() {
	if now := r.saves(); now != r.saved {
		r.saved, r.written = now, 0
	}
}

// forDatabase sees that its file has the blocks of what may be written.
func (r *room) forDatabase(u use, cost int64) error {
	r.look()
	size := r.size()
	need := size + size/64 + r.pending + r.written + cost + margin(u)
	if need > r.allocated {
		to := (need + step) / step * step
		if err := r.give(r.database(), to, unix.FALLOC_FL_KEEP_SIZE); err != nil {
			return err
		}
		r.allocated = to
	}
	return nil
}

// defragmented is called when the database has another file.
func (r *room) defragmented() {
	r.mu.Lock()
	r.allocated = 0
	r.mu.Unlock()
}

// forLog sees that the log's files have blocks: the one in use, the next, and the one after that, which etcd makes when it has taken the next. It uses two
// names in turn, and finds what is there already.
func (r *room) forLog(u use, n int64) error {
	if r.burden+n > overhang/2 && r.free() < plenty {
		return unix.ENOSPC
	}
	if r.logged += n; r.logged < lookEvery {
		return nil
	}
	if err := r.readyLog(); err != nil {
		if u == remove && r.logged < lookEvery+lastEntries {
			return nil
		}
		r.logged = max(r.logged-n, lookEvery)
		return err
	}
	r.logged = 0
	return nil
}

func (r *room) readyLog() error {
	var files []string
	if r.exists(r.logFile(0)) || r.exists(r.logFile(1)) { // else etcd is about to make its first
		files = append(files, r.logFile(0), r.logFile(1))
	}
	entries, err := os.ReadDir(filepath.Dir(r.logFile(0)))
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(entries) {
		if filepath.Ext(e.Name()) == ".wal" { // the newest, by its name
			files = append(files, filepath.Join(filepath.Dir(r.logFile(0)), e.Name()))
			break
		}
	}
	for _, f := range files {
		if err := r.give(f, segmentBytes+overhang, 0); err != nil {
			return err
		}
	}
	return nil
}

// reballast has the ballast there again, where there is room for it.
func (r *room) reballast() {
	if r.ballast {
		return
	}
	if r.ballast = r.give(r.file("ballast"), ballastSize, 0) == nil; !r.ballast {
		_ = os.Remove(r.file("ballast"))
	}
}

// forSnapshot sees to the one file that cannot be there before: when it comes with this request, there is plenty of disk or the ballast goes. Who is let in
// then does not answer before the file is there, see settled.
func (r *room) forSnapshot(u use) error {
	r.reballast()
	coming := r.index() + uint64(r.flying) + 1
	if !r.ballast && u != remove {
		coming += lastRemoves // without it, deletions may come up to there
	}
	if coming > r.last+snapshotEvery {
		r.last = r.snapshot()
	}
	if coming <= r.last+snapshotEvery || r.free() >= plenty {
		return nil
	}
	if !r.ballast && u != remove {
		return unix.ENOSPC
	}
	if r.ballast {
		r.ballast = false
		if err := os.Remove(r.file("ballast")); err != nil {
			return err
		}
	}
	if r.free() < snapshotMin {
		return unix.ENOSPC
	}
	r.comes = true
	return nil
}

// settled is called after a request and before its answer: where the ballast went for a snapshot that came with it, it waits for that by pass, which goes
// through the log.
func (r *room) settled(pass func()) {
	r.mu.Lock()
	comes := r.comes
	r.comes = false
	r.mu.Unlock()
	if comes {
		pass()
		r.mu.Lock()
		r.reballast()
		r.mu.Unlock()
	}
}

// snapshot is the index of the last one.
func (r *room) snapshot() (last uint64) {
	entries, err := os.ReadDir(filepath.Dir(r.database()))
	if err != nil {
		return 0
	}
	for _, e := range entries { // TERM-INDEX.snap, in hexadecimal
		name, ok := strings.CutSuffix(e.Name(), ".snap")
		if _, index, two := strings.Cut(name, "-"); ok && two {
			n, _ := strconv.ParseUint(index, 16, 64)
			last = max(last, n)
		}
	}
	return last
}

// free is what the file system has for this process.
func (r *room) free() int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(r.dir, &st); err != nil {
		return math.MaxInt64 // whoever writes will hear of it
	}
	return int64(st.Bfree) * st.Bsize
}

// give has blocks for a file, which is made if it is not there.
func (r *room) give(path string, size int64, mode uint32) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Fallocate(int(f.Fd()), mode, 0, size)
	}
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return nil
	}
	return err
}
