// Package logs reads the files that the monitor writes of containers' output, in both of its forms: json-file as Docker defines it, and
// CRI's lines. It reads from the end, from a time on, through rotated files, and follows a file as it grows.
//
// It writes and rotates nothing, and knows no containers: a caller says when nothing more will come. The engine's fronts import it.
package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options of one reading.
type Options struct {
	Stdout, Stderr io.Writer // nil: not wanted
	Follow         bool
	Ended          <-chan struct{} // with Follow: closes when nothing more will be written
	Timestamps     bool
	Details        bool // the line's attributes before it, as a=b,c=d and a blank
	Since, Until   time.Time
	Tail           int // lines; -1: all
}

// Entry is one record.
type Entry struct {
	Time   time.Time
	Stderr bool
	Text   []byte // with its newline, if it has one
	Attrs  map[string]string
}

// parse reads one line of the file in either form.
func parse(line []byte) (Entry, error) {
	if len(line) > 0 && line[0] == '{' {
		var d struct {
			Log    string            `json:"log"`
			Stream string            `json:"stream"`
			Time   time.Time         `json:"time"`
			Attrs  map[string]string `json:"attrs"`
		}
		if err := json.Unmarshal(line, &d); err != nil {
			return Entry{}, err
		}
		return Entry{d.Time, d.Stream == "stderr", []byte(d.Log), d.Attrs}, nil
	}
	f := bytes.SplitN(line, []byte{' '}, 4)
	if len(f) < 3 {
		return Entry{}, errors.New("read log: not a record")
	}
	at, err := time.Parse(time.RFC3339Nano, string(f[0]))
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Time: at, Stderr: string(f[1]) == "stderr"}
	if len(f) == 4 {
		e.Text = append(e.Text, f[3]...)
	}
	if len(f[2]) == 0 || f[2][0] != 'P' {
		e.Text = append(e.Text, '\n')
	}
	return e, nil
}

// sink writes what passes.
type sink struct {
	o    Options
	open [2]bool // a line of the stream has begun and not ended
}

// errPast ends a reading behind Until.
var errPast = errors.New("past the end of the reading")

func (s *sink) put(e Entry) error {
	if !s.o.Since.IsZero() && e.Time.Before(s.o.Since) {
		return nil
	}
	if !s.o.Until.IsZero() && e.Time.After(s.o.Until) {
		return errPast
	}
	w, i := s.o.Stdout, 0
	if e.Stderr {
		w, i = s.o.Stderr, 1
	}
	if w == nil {
		return nil
	}
	text := e.Text
	if !s.open[i] {
		head := ""
		if s.o.Timestamps {
			head = e.Time.UTC().Format("2006-01-02T15:04:05.000000000Z") + " "
		}
		if s.o.Details {
			head += details(e.Attrs) + " "
		}
		text = append([]byte(head), text...)
	}
	s.open[i] = !bytes.HasSuffix(text, []byte{'\n'})
	_, err := w.Write(text)
	return err
}

// details words a line's attributes.
func details(attrs map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		out = append(out, url.QueryEscape(k)+"="+url.QueryEscape(attrs[k]))
	}
	return strings.Join(out, ",")
}

// wanted reports whether an entry would be written, for counting lines from the end.
func (s *sink) wanted(e Entry) bool {
	return (e.Stderr && s.o.Stderr != nil || !e.Stderr && s.o.Stdout != nil) && (s.o.Since.IsZero() || !e.Time.Before(s.o.Since)) && (s.o.Until.IsZero() || !e.Time.After(s.o.Until))
}

// maxLine bounds one record; the monitor cuts output far below.
const maxLine = 1 << 20

// Read reads the log at path and the rotated files beside it (path.1 is the newest of them).
func Read(ctx context.Context, path string, o Options) error {
	s := &sink{o: o}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	current, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read log: %w", err)
	}
	var follower *watch
	if o.Follow = o.Follow && !over(o.Ended); o.Follow { // of what has ended there may be no folder to watch
		if follower, err = newWatch(path); err != nil {
			return err
		}
		defer follower.close()
		if current == nil {
			current, _ = os.Open(path)
		}
	}
	for n := 1; ; n++ {
		f, err := openRotated(path, n)
		if err != nil {
			break
		}
		files = append([]*os.File{f}, files...)
	}
	if current != nil {
		files = append(files, current)
	}
	skip := 0
	if o.Tail >= 0 {
		total, begun := 0, amid{}
		for _, f := range files {
			n, err := count(f, s, &begun)
			if err != nil {
				return err
			}
			total += n
		}
		skip = max(0, total-o.Tail)
	}
	r := &reader{sink: s, skip: skip}
	for i, f := range files {
		if err := r.drain(ctx, f); err != nil {
			return quiet(err)
		}
		if i == len(files)-1 && o.Follow {
			break
		}
		r.rest = nil
	}
	if !o.Follow {
		return nil
	}
	r.skip = 0
	return quiet(r.follow(ctx, path, current, follower))
}

// openRotated opens the n-th rotated file, the first being the newest; a compressed one by way of a nameless copy.
func openRotated(path string, n int) (*os.File, error) {
	name := fmt.Sprintf("%s.%d", path, n)
	f, err := os.Open(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	packed, err := os.Open(name + ".gz")
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	from, err := gzip.NewReader(packed)
	if err != nil {
		return nil, fmt.Errorf("read log %s: %w", name, err)
	}
	to, err := os.CreateTemp(filepath.Dir(path), ".unpacked-")
	if err != nil {
		return nil, fmt.Errorf("unpack log: %w", err)
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, os.Remove(to.Name())); err == nil {
		_, err = to.Seek(0, io.SeekStart)
	}
	if err != nil {
		to.Close()
		return nil, fmt.Errorf("unpack log %s: %w", name, err)
	}
	return to, nil
}

func quiet(err error) error {
	if errors.Is(err, errPast) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// amid tells which streams are amid a line.
type amid [2]bool

// begins reports whether an entry is the beginning of a line; a last one that has no end counts too.
func (l *amid) begins(e Entry) bool {
	i := 0
	if e.Stderr {
		i = 1
	}
	inside := l[i]
	l[i] = !bytes.HasSuffix(e.Text, []byte{'\n'})
	return !inside
}

// count counts the lines that begin in a file and would be written, and goes back to its beginning.
func count(f *os.File, s *sink, begun *amid) (n int, err error) {
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		if e, err := parse(sc.Bytes()); err == nil && s.wanted(e) && begun.begins(e) {
			n++
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return n, err
}

// reader reads records as far as they are whole.
type reader struct {
	sink *sink
	skip int // lines to pass over yet
	// begun is of all that was read, skipped of those whose line is passed over.
	begun   amid
	skipped amid
	rest    []byte // of a record that is not whole yet
	buf     []byte
}

func (r *reader) drain(ctx context.Context, f *os.File) error {
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(r.buf)
		data := r.buf[:n]
		if len(r.rest) > 0 {
			data = append(r.rest, data...)
			r.rest = nil
		}
		for {
			line, after, ok := bytes.Cut(data, []byte{'\n'})
			if !ok {
				break
			}
			data = after
			e, err := parse(line)
			if err != nil {
				continue
			}
			if r.passes(e) {
				continue
			}
			if err := r.sink.put(e); err != nil {
				return err
			}
		}
		if len(data) > maxLine {
			data = nil
		}
		r.rest = append([]byte(nil), data...)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// passes reports whether an entry belongs to a line before the last ones that were asked for.
func (r *reader) passes(e Entry) bool {
	if !r.sink.wanted(e) {
		return false // the sink knows what to do
	}
	i := 0
	if e.Stderr {
		i = 1
	}
	if r.begun.begins(e) {
		if r.skipped[i] = r.skip > 0; r.skipped[i] {
			r.skip--
		}
	}
	return r.skipped[i]
}

// follow reads what is written, through rotations, until the end.
func (r *reader) follow(ctx context.Context, path string, f *os.File, w *watch) error {
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	ended, last := r.sink.o.Ended, false
	var until <-chan time.Time
	if u := r.sink.o.Until; !u.IsZero() {
		t := time.NewTimer(time.Until(u))
		defer t.Stop()
		until = t.C
	}
	for {
		if f != nil {
			if err := r.drain(ctx, f); err != nil {
				return err
			}
		}
		if moved(path, f) {
			if next, err := os.Open(path); err == nil {
				if f != nil {
					if err := r.drain(ctx, f); err != nil {
						return err
					}
					f.Close()
				}
				f, r.rest = next, nil
				continue
			}
		}
		if last {
			return nil
		}
		select {
		case <-w.changed:
		case <-ended:
			last, ended = true, nil // once more: what came before the end
		case <-until:
			last = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func over(ended <-chan struct{}) bool {
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

// moved reports whether the path names another file than f.
func moved(path string, f *os.File) bool {
	var a, b unix.Stat_t
	if unix.Stat(path, &a) != nil {
		return false
	}
	return f == nil || unix.Fstat(int(f.Fd()), &b) != nil || a.Ino != b.Ino || a.Dev != b.Dev
}

// watch tells when something happens to a file or its folder.
type watch struct {
	f       *os.File
	changed chan struct{}
}

func newWatch(path string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch log: %w", err)
	}
	dir := path[:bytes.LastIndexByte([]byte(path), '/')+1]
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch log: %w", err)
	}
	w := &watch{f: os.NewFile(uintptr(fd), "inotify"), changed: make(chan struct{}, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := w.f.Read(buf); err != nil {
				return
			}
			select {
			case w.changed <- struct{}{}:
			default:
			}
		}
	}()
	return w, nil
}

func (w *watch) close() { w.f.Close() }
