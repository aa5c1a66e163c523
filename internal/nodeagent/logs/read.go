package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Options choose what Read gives. The zero value gives all there is.
type Options struct {
	Tail       int64 // last lines; -1: all
	Since      time.Time
	Timestamps bool
	Limit      int64  // bytes; 0: no limit
	Follow     bool   // go on until the container has ended or ctx ends
	Stream     string // "Stdout", "Stderr"; else both
}

// lineMax bounds the memory that one record can take.
const lineMax = 1 << 20

// Read copies the log at path to stdout and stderr. ended is closed once the container writes no more; nil: it has ended.
func Read(ctx context.Context, path string, o Options, ended <-chan struct{}, stdout, stderr io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { f.Close() }()
	start := int64(0)
	if o.Tail >= 0 && o.Since.IsZero() {
		if start, err = tailOffset(f, o.Tail); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		o.Tail = -1
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	var grown *watcher
	if o.Follow && ended != nil {
		if grown, err = watch(ctx, path); err != nil {
			return err
		}
		defer grown.close()
	}
	w := &writer{o: o, left: o.Limit, stdout: stdout, stderr: stderr, begin: true}
	if o.Tail >= 0 { // with both, the tail is taken of what is young enough
		if w.skip, err = countSince(f, o); err != nil {
			return err
		}
		w.skip = max(w.skip-o.Tail, 0)
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
	r := bufio.NewReaderSize(f, 32<<10)
	var part []byte // a record whose end is not written yet
	over := !o.Follow || ended == nil
	for {
		chunk, err := r.ReadSlice('\n')
		part = append(part, chunk...)
		switch {
		case err == nil:
			full, werr := w.line(bytes.TrimSuffix(part, []byte{'\n'}))
			part = part[:0]
			if werr != nil || full {
				return werr
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			if len(part) > lineMax {
				part = part[:lineMax]
			}
			continue
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("read log: %w", err)
		}
		if next := rotated(f, path); next != nil {
			f.Close()
			f = next
			r.Reset(f)
			part = part[:0]
			continue
		}
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			over = true // once more to the end: the last lines may have come in between
		case <-grown.news:
		}
	}
}

// rotated opens the file that took path's place, nil if none did.
func rotated(f *os.File, path string) *os.File {
	now, err := os.Stat(path)
	if err != nil {
		return nil
	}
	have, err := f.Stat()
	if err != nil || os.SameFile(now, have) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}

type writer struct {
	o              Options
	left, skip     int64
	begin          bool // at the beginning of a line
	stdout, stderr io.Writer
}

// line writes one record; full tells that the limit is reached.
func (w *writer) line(b []byte) (full bool, err error) {
	l, perr := Parse(b)
	if perr != nil {
		return false, nil // not ours: half a record after a crash, say
	}
	if !w.o.Since.IsZero() && l.Time.Before(w.o.Since) {
		return false, nil
	}
	if w.o.Stream == "Stdout" && l.Stderr || w.o.Stream == "Stderr" && !l.Stderr {
		return false, nil
	}
	if w.skip > 0 {
		w.skip--
		return false, nil
	}
	out := make([]byte, 0, len(l.Message)+40)
	if w.o.Timestamps && w.begin {
		out = append(append(out, l.Stamp...), ' ')
	}
	out = append(out, l.Message...)
	if !l.Partial {
		out = append(out, '\n')
	}
	w.begin = !l.Partial
	if w.o.Limit > 0 {
		if int64(len(out)) >= w.left {
			out, full = out[:w.left], true
		}
		w.left -= int64(len(out))
	}
	dst := w.stdout
	if l.Stderr {
		dst = w.stderr
	}
	if dst != nil {
		_, err = dst.Write(out)
	}
	return full, err
}

func countSince(f *os.File, o Options) (n int64, err error) {
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, lineMax)
	for sc.Scan() {
		if l, err := Parse(sc.Bytes()); err == nil && !l.Time.Before(o.Since) {
			n++
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return 0, fmt.Errorf("read log: %w", err)
	}
	return n, nil
}

// tailOffset is where the last n lines begin.
func tailOffset(f io.ReaderAt, n int64) (int64, error) {
	size := int64(0)
	if s, ok := f.(interface{ Stat() (fs.FileInfo, error) }); ok {
		st, err := s.Stat()
		if err != nil {
			return 0, err
		}
		size = st.Size()
	}
	if n == 0 {
		return size, nil
	}
	const block = 16 << 10
	buf := make([]byte, block)
	seen := int64(-1) // the newline that ends the last line does not count
	for end := size; end > 0; {
		begin := max(end-block, 0)
		b := buf[:end-begin]
		if _, err := f.ReadAt(b, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if end == size && len(b) > 0 && b[len(b)-1] != '\n' {
			seen = 0
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] == '\n' {
				if seen++; seen == n {
					return begin + int64(i) + 1, nil
				}
			}
		}
		end = begin
	}
	return 0, nil
}

// Tail returns the messages of the last lines of a log, at most limit bytes of them.
func Tail(path string, lines int64, limit int) string {
	var b strings.Builder
	if err := Read(context.Background(), path, Options{Tail: lines}, nil, &b, &b); err != nil {
		return ""
	}
	s := b.String()
	if len(s) > limit {
		s = s[len(s)-limit:]
	}
	return s
}
