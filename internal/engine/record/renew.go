package record

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// renew writes the file anew without what is out of date. Where that fails the old one serves on.
func (j *journal) renew() {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	old := j.end-j.liveSize > restful && !j.closed // else another did, or shall
	j.mu.Unlock()
	var err error
	if old {
		err = j.rewrite(nil)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.renewing = false
	if err != nil {
		j.patience += j.end
	}
}

// copied is a line on its way into a new file.
type copied struct {
	id string
	span
}

// rewrite makes a new file of the live lines, of which change, if any, makes others. The caller holds syncing. While the lines go to disk others are added
// to the old file: they are taken along at the end, and are on disk when who commits them says so.
func (j *journal) rewrite(change func([]byte) ([]byte, error)) error {
	j.mu.Lock()
	turn, end, from := j.turn, j.end, j.file
	order := make([]copied, 0, len(j.live))
	for id, s := range j.live {
		order = append(order, copied{id, s})
	}
	size := j.liveSize
	j.mu.Unlock()
	slices.SortFunc(order, func(a, b copied) int { return cmp.Compare(a.at, b.at) })

	path := filepath.Join(j.dir, journalFile)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	placed, length, err := copyLines(f, from, order, size, change)
	if err == nil {
		err = f.Sync()
	}
	have := end
	for more := true; more && err == nil; {
		j.mu.Lock()
		now := j.end
		more = turn == j.turn && now-have > restful
		j.mu.Unlock()
		if more {
			err = copyRest(f, from, length-end, have, now)
			have = now
		}
	}
	j.mu.Lock()
	if j.turn != turn { // emptied, or a line crossed out, meanwhile: there is another time
		j.mu.Unlock()
		return errors.Join(f.Close(), os.Remove(path+".new"))
	}
	if err == nil {
		err = copyRest(f, from, length-end, have, j.end)
	}
	if err == nil {
		err = j.change(f, end, placed, length)
	}
	j.mu.Unlock()
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(path+".new"))
	}
	return errors.Join(from.Close(), syncFolder(j.dir)) // before anybody who commits goes on
}

// copyLines writes the lines into a new file, and says which lies where, by its place in the old one.
func copyLines(to, from *os.File, order []copied, size int64, change func([]byte) ([]byte, error)) (placed map[int64]span, length int64, err error) {
	text := make([]byte, 0, size)
	placed = make(map[int64]span, len(order))
	for _, k := range order {
		b := make([]byte, k.line)
		if _, err := from.ReadAt(b, k.at); err != nil {
			return nil, 0, fmt.Errorf("read record %s: %w", k.id, err)
		}
		head := k.head
		if change != nil {
			record, err := change(b[k.head : k.line-1])
			if err != nil {
				record = b[k.head : k.line-1] // damaged: left to All
			}
			if b, err = line(opCommit, k.id, record); err != nil {
				return nil, 0, err
			}
			head = len(b) - 1 - len(record)
		}
		placed[k.at] = span{at: int64(len(text)), line: len(b), head: head}
		text = append(text, b...)
	}
	_, err = to.Write(text)
	return placed, int64(len(text)), err
}

// copyRest copies lines that were added to the old file since, each byte by shift away from where it was.
func copyRest(to, from *os.File, shift, begin, end int64) error {
	n, err := io.Copy(io.NewOffsetWriter(to, begin+shift), io.NewSectionReader(from, begin, end-begin))
	if err == nil && n != end-begin {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// change puts a new file in the old one's place: its lines are those that were live at end, and those that were added since follow. The caller holds mu.
func (j *journal) change(f *os.File, end int64, placed map[int64]span, length int64) error {
	path := filepath.Join(j.dir, journalFile)
	shift := length - end
	room, err := reserve(f, j.end+shift, spare)
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	j.liveSize = 0
	for id, s := range j.live {
		if s.at < end {
			s = placed[s.at]
		} else {
			s.at += shift
		}
		j.live[id] = s
		j.liveSize += int64(s.line)
	}
	j.file, j.base, j.end = f, j.base-shift, j.end+shift
	j.room, j.patience = room, stale
	j.synced = max(j.synced, j.base+length)
	return nil
}
