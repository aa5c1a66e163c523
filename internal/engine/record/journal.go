package record

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What a line does.
const (
	opPut    = "put"
	opCommit = "commit"
	opDelete = "delete"
)

const (
	journalFile = "journal"
	spare       = 8 << 10 // bytes of disk kept for deletions, which make room where there is none
	ahead       = 24 << 10
	stale       = 2 << 20  // bytes of lines out of date from which on the file is written anew at once,
	restful     = 64 << 10 // and from which on when nothing has been written
	rest        = 2 * time.Second
)

// span is where a thing's record lies in the file: the whole line, and the record in it.
type span struct {
	at   int64
	line int
	head int // bytes before the record
}

// journal is the file. Who writes it to disk or anew holds syncing, which is taken before mu.
type journal struct {
	dir     string
	syncing sync.Mutex

	mu       sync.Mutex
	file     *os.File
	round    int   // how often the file began anew
	synced   int64 // so much of it is on disk
	live     map[string]span
	liveSize int64
	end      int64 // where the next line goes
	room     int64 // up to here the disk is the file's
	patience int64 // how much may be out of date now
	resting  *time.Timer
	closed   bool
}

// openJournal reads the folder's journal, and takes over records that an earlier version kept in files of their own.
func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, journalFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{dir: dir, file: f, patience: stale}
	text, err := io.ReadAll(f)
	if err == nil {
		j.live, j.end = replay(text)
		for _, s := range j.live {
			j.liveSize += int64(s.line)
		}
		err = f.Truncate(j.end)
	}
	if err == nil {
		err = j.adopt()
	}
	if err == nil {
		err = errors.Join(j.file.Sync(), syncFolder(dir)) // another file, should it have been written anew meanwhile
	}
	if err != nil {
		return nil, errors.Join(err, j.file.Close())
	}
	j.room, j.synced = j.end, j.end
	return j, nil
}

// replay reads lines: what is live at their end, and where the last whole one ends. Lines that are torn are passed over.
func replay(text []byte) (live map[string]span, end int64) {
	live = map[string]span{}
	at := int64(0)
	for line := range bytes.Lines(text) {
		op, id, record, ok := parse(line)
		if ok {
			end = at + int64(len(line))
			if op == opDelete {
				delete(live, id)
			} else {
				live[id] = span{at: at, line: len(line), head: len(line) - 1 - len(record)}
			}
		}
		at += int64(len(line))
	}
	return live, end
}

// line words a change. The checksum is of all that follows it but the end of the line.
func line(op, id string, record []byte) ([]byte, error) {
	if id == "" || strings.ContainsAny(id, " \n") || bytes.IndexByte(record, '\n') >= 0 {
		return nil, fmt.Errorf("a record and its ID %q are one line", id)
	}
	b := make([]byte, 0, 8+1+len(op)+1+len(id)+1+len(record)+1)
	b = append(b, "00000000 "+op+" "+id+" "...)
	b = append(b, record...)
	copy(b, fmt.Sprintf("%08x", crc32.ChecksumIEEE(b[9:])))
	return append(b, '\n'), nil
}

func parse(b []byte) (op, id string, record []byte, ok bool) {
	b, whole := bytes.CutSuffix(b, []byte{'\n'})
	if !whole || len(b) < 9 || b[8] != ' ' || fmt.Sprintf("%08x", crc32.ChecksumIEEE(b[9:])) != string(b[:8]) {
		return "", "", nil, false
	}
	parts := bytes.SplitN(b[9:], []byte{' '}, 3)
	if len(parts) != 3 || len(parts[1]) == 0 {
		return "", "", nil, false
	}
	op = string(parts[0])
	return op, string(parts[1]), parts[2], op == opPut || op == opCommit || op == opDelete
}

// place is a line in the file.
type place struct {
	round int
	end   int64
}

// add writes a line and says where it is.
func (j *journal) add(op, id string, record []byte) (place, error) {
	b, err := line(op, id, record)
	if err != nil {
		return place{}, err
	}
	j.mu.Lock()
	where, err := j.write(op, id, b, len(b)-1-len(record))
	old := j.end-j.liveSize > max(j.patience, 3*j.liveSize)
	j.settle()
	j.mu.Unlock()
	if err == nil && old {
		j.renew()
	}
	return where, err
}

// write adds a line. The caller holds mu.
func (j *journal) write(op, id string, b []byte, head int) (place, error) {
	size := int64(len(b))
	if err := j.reserve(j.end + size); err != nil && op != opDelete {
		return place{}, err
	}
	// At the end that is known: what a writing that failed left there is overwritten, and never a line.
	if _, err := j.file.WriteAt(b, j.end); err != nil {
		return place{}, err
	}
	j.liveSize -= int64(j.live[id].line)
	delete(j.live, id)
	if op != opDelete {
		j.live[id] = span{at: j.end, line: len(b), head: head}
		j.liveSize += size
	}
	j.end += size
	return place{j.round, j.end}, nil
}

// settle has what is out of date looked at when there is rest. The caller holds mu.
func (j *journal) settle() {
	if j.end-j.liveSize <= restful || j.closed {
		return
	}
	if j.resting == nil {
		j.resting = time.AfterFunc(rest, j.renew)
	} else {
		j.resting.Reset(rest)
	}
}

// reserve has disk for lines up to end, and what deletions may need. The caller holds mu.
func (j *journal) reserve(end int64) error {
	if end+spare <= j.room {
		return nil
	}
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = allocate(j.file, j.end, end+spare+ahead)
	}
	switch err {
	case nil:
		j.room = end + spare + ahead
	case unix.EOPNOTSUPP, unix.ENOSYS: // a file system that cannot say so before
		j.room = math.MaxInt64
	default:
		return err
	}
	return nil
}

func allocate(f *os.File, from, to int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, to-from)
}

func (j *journal) commit(id string, record []byte) error {
	where, err := j.add(opCommit, id, record)
	if err != nil {
		return err
	}
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	now, synced, file := place{j.round, j.end}, j.synced, j.file
	j.mu.Unlock()
	if where.round != now.round || where.end <= synced {
		return nil // with another's, or by the writing anew: the file is not emptied while this record is in it
	}
	if err := unix.Fdatasync(int(file.Fd())); err != nil {
		// The kernel may count as written what it could not write. A new file does not rest on that.
		return errors.Join(err, j.rewrite(nil))
	}
	j.mu.Lock()
	j.synced = now.end
	j.mu.Unlock()
	return nil
}

// delete forgets a record. With the last one the file is emptied.
func (j *journal) delete(id string) error {
	j.mu.Lock()
	_, known := j.live[id]
	if known && len(j.live) == 1 {
		defer j.mu.Unlock()
		if err := j.file.Truncate(0); err != nil {
			return err
		}
		clear(j.live)
		j.liveSize, j.end, j.room, j.synced = 0, 0, 0, 0
		j.round++
		return nil
	}
	j.mu.Unlock()
	if !known {
		return nil
	}
	_, err := j.add(opDelete, id, nil)
	return err
}

// all are the live records.
func (j *journal) all() (map[string][]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make(map[string][]byte, len(j.live))
	for id, s := range j.live {
		b := make([]byte, s.line-s.head-1)
		if _, err := j.file.ReadAt(b, s.at+int64(s.head)); err != nil {
			return nil, fmt.Errorf("read record %s: %w", id, err)
		}
		all[id] = b
	}
	return all, nil
}

// renew writes the file anew without what is out of date. Where that fails the old one serves on.
func (j *journal) renew() {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	old := j.end-j.liveSize > restful && !j.closed
	j.mu.Unlock()
	if !old {
		return // another did, or shall
	}
	if err := j.rewrite(nil); err != nil {
		j.mu.Lock()
		j.patience += j.end
		j.mu.Unlock()
	}
}

// rewrite makes a new file of the live lines, of which change, if any, makes others. The caller holds syncing.
func (j *journal) rewrite(change func([]byte) ([]byte, error)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	type kept struct {
		id string
		span
	}
	order := make([]kept, 0, len(j.live))
	for id, s := range j.live {
		order = append(order, kept{id, s})
	}
	slices.SortFunc(order, func(a, b kept) int { return cmp.Compare(a.at, b.at) })
	text := make([]byte, 0, j.liveSize)
	live := make(map[string]span, len(order))
	for _, k := range order {
		b := make([]byte, k.line)
		if _, err := j.file.ReadAt(b, k.at); err != nil {
			return fmt.Errorf("read record %s: %w", k.id, err)
		}
		if change != nil {
			record, err := change(b[k.head : k.line-1])
			if err != nil {
				record = b[k.head : k.line-1] // damaged: left to All
			}
			if b, err = line(opCommit, k.id, record); err != nil {
				return err
			}
			k.head = len(b) - 1 - len(record)
		}
		live[k.id] = span{at: int64(len(text)), line: len(b), head: k.head}
		text = append(text, b...)
	}
	path := filepath.Join(j.dir, journalFile)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_ = j.file.Close()
	j.file, j.live, j.round = f, live, j.round+1
	j.end = int64(len(text))
	j.liveSize, j.room, j.synced, j.patience = j.end, j.end, j.end, stale
	return syncFolder(j.dir)
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	if j.resting != nil {
		j.resting.Stop()
	}
}

// look reads the live records of a folder that may be another program's.
func look(dir string) (map[string][]byte, error) {
	all, err := files(dir)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, journalFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	live, _ := replay(text)
	for id, s := range live {
		all[id] = text[s.at+int64(s.head) : s.at+int64(s.line)-1]
	}
	return all, nil
}
