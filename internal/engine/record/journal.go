package record

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
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
	spare       = 64 << 10 // bytes of disk kept for what happens to things that are there: that ends and removes them, which makes room where there is none
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

// journal is the file. Who writes it to disk or anew holds syncing, which is taken before mu. What was ever added has a place that only grows, whatever
// became of the file since.
type journal struct {
	dir     string
	syncing sync.Mutex

	mu       sync.Mutex
	file     *os.File
	base     int64 // the place of the file's first byte; it changes when the file begins anew
	turn     int   // how often what was in the file changed: what was read of it before does not count
	synced   int64 // the place up to which all that counts is on disk
	live     map[string]span
	liveSize int64
	end      int64 // where the next line goes
	room     int64 // up to here the disk is the file's
	patience int64 // how much may be out of date now
	renewing bool  // in the background
	resting  *time.Timer
	closed   bool
}

// openJournal reads the folder's journal, and takes over records that an earlier version kept in files of their own.
func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, journalFile)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) { // a crash's
		return nil, err
	}
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
		if len(j.live) == 0 {
			j.end = 0
		}
		if j.end == 0 || j.end < int64(len(text)) { // else the room that is kept behind the end stays
			err = f.Truncate(j.end)
		}
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
	j.room, j.synced = j.end, j.base+j.end
	j.settle()
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

// add writes a line and says where it ends.
func (j *journal) add(op, id string, record []byte) (place int64, err error) {
	b, err := line(op, id, record)
	if err != nil {
		return 0, err
	}
	j.mu.Lock()
	err = j.write(op, id, b, len(b)-1-len(record))
	place = j.base + j.end
	j.settle()
	j.mu.Unlock()
	return place, err
}

// write adds a line. The caller holds mu.
func (j *journal) write(op, id string, b []byte, head int) error {
	size := int64(len(b))
	_, known := j.live[id]
	if err := j.reserve(j.end + size); err != nil && !known {
		return err
	}
	// At the end that is known: what a writing that failed left there is overwritten, and never a line.
	if _, err := j.file.WriteAt(b, j.end); err != nil {
		return err
	}
	j.forget(id)
	if op != opDelete {
		j.live[id] = span{at: j.end, line: len(b), head: head}
		j.liveSize += size
	}
	j.end += size
	return nil
}

// forget takes a thing's line out of what is live. The caller holds mu.
func (j *journal) forget(id string) {
	j.liveSize -= int64(j.live[id].line)
	delete(j.live, id)
}

// settle has the file written anew in the background: soon when much is out of date, and when there is rest. The caller holds mu.
func (j *journal) settle() {
	switch waste := j.end - j.liveSize; {
	case waste <= restful || j.closed || j.renewing:
	case waste > max(j.patience, 3*j.liveSize):
		j.renewing = true
		go j.renew()
	case j.resting == nil:
		j.resting = time.AfterFunc(rest, j.renew)
	default:
		j.resting.Reset(rest)
	}
}

// reserve has disk for lines up to end, and what deletions may need. The caller holds mu.
func (j *journal) reserve(end int64) error {
	if end+spare <= j.room {
		return nil
	}
	room, err := reserve(j.file, j.end, end-j.end+spare+ahead)
	if err == nil {
		j.room = room
	}
	return err
}

// reserve has disk for size bytes behind the file's end, and says up to where there is some.
func reserve(f *os.File, end, size int64) (room int64, err error) {
	err = unix.EINTR
	for err == unix.EINTR {
		err = allocate(f, end, end+size)
	}
	switch err {
	case nil:
		return end + size, nil
	case unix.EOPNOTSUPP, unix.ENOSYS: // a file system that cannot say so before
		return math.MaxInt64, nil
	}
	return 0, err
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
	now, synced, file := j.base+j.end, j.synced, j.file
	j.mu.Unlock()
	if where <= synced {
		return nil // with another's, or by the writing anew: the file is not emptied while this record is in it
	}
	if err := unix.Fdatasync(int(file.Fd())); err != nil {
		// The kernel may count as written what it could not write. A new file does not rest on that.
		return errors.Join(err, j.rewrite(nil))
	}
	j.mu.Lock()
	j.synced = max(j.synced, now)
	j.mu.Unlock()
	return nil
}

// delete forgets a record. With the last one the file is emptied.
func (j *journal) delete(id string) error {
	b, err := line(opDelete, id, nil)
	if err != nil {
		return err
	}
	j.mu.Lock()
	s, known := j.live[id]
	switch {
	case !known:
	case len(j.live) == 1:
		err = j.empty()
	default:
		if err = j.write(opDelete, id, b, len(b)-1); err != nil {
			err = j.cross(id, s, err)
		}
	}
	j.settle()
	j.mu.Unlock()
	return err
}

// empty is for the last record. The caller holds mu.
func (j *journal) empty() error {
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	clear(j.live)
	j.base += j.end
	j.turn++
	j.liveSize, j.end, j.room, j.synced = 0, 0, 0, j.base
	return nil
}

// cross deletes a record where no line can be added, for lack of room: its own line becomes one that deletes it, of the same length. The caller holds mu.
func (j *journal) cross(id string, s span, cause error) error {
	bare, err := line(opDelete, id, nil)
	if err != nil || len(bare) > s.line {
		return cause
	}
	b, err := line(opDelete, id, bytes.Repeat([]byte{' '}, s.line-len(bare)))
	if err != nil {
		return err
	}
	if _, err := j.file.WriteAt(b, s.at); err != nil {
		return errors.Join(cause, err)
	}
	j.turn++
	j.forget(id)
	return nil
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

// close returns when nothing is under way in the background.
func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	if j.resting != nil {
		j.resting.Stop()
	}
	j.mu.Unlock()
	j.syncing.Lock()
	defer j.syncing.Unlock()
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
