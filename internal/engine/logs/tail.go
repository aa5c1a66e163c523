package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Position is a place in a log and its rotated files: behind the record that ends at Offset of the file with this inode. The zero value is
// the oldest record that there is.
type Position struct {
	Inode  uint64
	Offset int64
}

// Tail hands the records behind a position to f, as they come, in batches, each with the position behind it, until ended closes and nothing
// is left, f has an error, or ctx ends. What was rotated away meanwhile is lost; rotated files must not be compressed.
func Tail(ctx context.Context, path string, from Position, ended <-chan struct{}, f func([]Entry, Position) error) error {
	w, err := newWatch(path)
	if err != nil {
		return err
	}
	defer w.close()
	t := tail{path: path, at: from, give: f}
	defer t.close()
	for last := false; ; {
		if err := t.advance(ctx); err != nil {
			return err
		}
		if last {
			return nil
		}
		select {
		case <-w.changed:
		case <-ended:
			last = true // once more: what came before the end
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type tail struct {
	path string
	at   Position
	give func([]Entry, Position) error
	file *os.File
	rest []byte // of a record that is not whole yet
}

func (t *tail) close() {
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
}

// advance reads all that there is, through rotated files to the newest.
func (t *tail) advance(ctx context.Context) error {
	for {
		if t.file == nil {
			if err := t.open(); t.file == nil || err != nil {
				return err
			}
		}
		if err := t.drain(ctx); err != nil || !moved(t.path, t.file) {
			return err
		}
		// It was rotated: what was written before that, then the next file.
		if err := t.drain(ctx); err != nil {
			return err
		}
		if err := t.next(); err != nil {
			return err
		}
	}
}

// files lists the log's files, the oldest first.
func (t *tail) files() ([]*os.File, error) {
	var out []*os.File
	for n := 0; ; n++ {
		name := t.path
		if n > 0 {
			name = fmt.Sprintf("%s.%d", t.path, n)
		}
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && n == 0 {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("read log: %w", err)
		}
		out = append([]*os.File{f}, out...)
	}
}

// choose opens one of the log's files.
func (t *tail) choose(pick func([]*os.File) (int, int64)) error {
	all, err := t.files()
	i, offset := -1, int64(0)
	if err == nil && len(all) > 0 {
		i, offset = pick(all)
	}
	for n, f := range all {
		if n != i {
			f.Close()
		}
	}
	if i < 0 {
		return err
	}
	t.close()
	t.file, t.rest = all[i], nil
	t.at = Position{inode(t.file), offset}
	_, err = t.file.Seek(offset, io.SeekStart)
	return err
}

// open finds the file of the position, or the oldest.
func (t *tail) open() error {
	return t.choose(func(all []*os.File) (int, int64) {
		for i, f := range all {
			if inode(f) == t.at.Inode && holds(f, t.at.Offset) {
				return i, t.at.Offset
			}
		}
		return 0, 0
	})
}

// next goes to the file that follows the present one, or the oldest when that is gone.
func (t *tail) next() error {
	now := inode(t.file)
	return t.choose(func(all []*os.File) (int, int64) {
		for i, f := range all {
			if inode(f) == now {
				return min(i+1, len(all)-1), 0
			}
		}
		return 0, 0
	})
}

// holds reports whether a record ends at the offset: an inode number may have come to another file.
func holds(f *os.File, offset int64) bool {
	if offset == 0 {
		return true
	}
	b := make([]byte, 1)
	n, _ := f.ReadAt(b, offset-1)
	return n == 1 && b[0] == '\n'
}

func inode(f *os.File) uint64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return st.Ino
}

func (t *tail) drain(ctx context.Context) error {
	buf := make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := t.file.Read(buf)
		data := append(t.rest, buf[:n]...)
		var batch []Entry
		for {
			line, after, whole := bytes.Cut(data, []byte{'\n'})
			if !whole {
				break
			}
			t.at.Offset += int64(len(line) + 1)
			data = after
			if e, err := parse(line); err == nil {
				batch = append(batch, e)
			}
		}
		t.rest = append([]byte(nil), data...)
		if len(batch) > 0 {
			if err := t.give(batch, t.at); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
}
