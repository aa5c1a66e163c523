// Package logfile writes a container's output to a file in the CRI's or Docker's line format, splits long lines, and
// rotates. It reads no stream and knows no container. The monitor's server imports it.
package logfile

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Format of a log's lines.
type Format string

// The formats. CRI: "2016-10-06T00:17:09.669794202Z stdout F text" with P for a part of a line (kubernetes
// design-proposals, kubelet-cri-logging); Docker: one JSON object a line with log, stream and time (json-file).
const (
	CRI    Format = "cri"
	Docker Format = "docker"
	None   Format = "none"
)

// MaxLine is the length in bytes at which a line is split, as containerd and Docker split it.
const MaxLine = 16 << 10

// Config says where and how.
type Config struct {
	Path     string
	Format   Format
	MaxSize  int64 // 0: no rotation
	MaxFiles int   // with the current one; 0 counts as 1
	Compress bool  // rotated files are path.1.gz and so on
	// Attrs go into every line of format Docker, as its "attrs".
	Attrs map[string]string
}

// Log is an open log file. Its methods may be called at once by several streams.
type Log struct {
	mu   sync.Mutex
	cfg  Config
	file *os.File
	size int64
	now  func() time.Time
	line []byte // formatted lines on their way to the file; kept small between writes

	attrs   []byte         // of every line, encoded
	packing sync.WaitGroup // a rotated file is being compressed
}

// Open opens or goes on with a log. Format None or an empty path give a log that drops everything.
func Open(cfg Config, now func() time.Time) (*Log, error) {
	switch cfg.Format {
	case CRI, Docker:
	case None, "":
		cfg.Path = ""
	default:
		return nil, fmt.Errorf("open log: format %q is none of cri, docker, none", cfg.Format)
	}
	l := &Log{cfg: cfg, now: now}
	if len(cfg.Attrs) > 0 {
		b, err := json.Marshal(cfg.Attrs)
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		l.attrs = append(append([]byte(`"attrs":`), b...), ',')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l, l.open()
}

func (l *Log) open() error {
	if l.cfg.Path == "" {
		return nil
	}
	f, err := os.OpenFile(l.cfg.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(l.cfg.Path), 0o755); err != nil {
			return fmt.Errorf("make log folder: %w", err)
		}
		f, err = os.OpenFile(l.cfg.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("stat log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Path is where the log is now.
func (l *Log) Path() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg.Path
}

// Reopen closes the file and opens its path anew.
func (l *Log) Reopen() error { return l.Move(l.Path()) }

// Move goes on at another path.
func (l *Log) Move(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.file
	was := l.cfg.Path
	l.cfg.Path = path
	if err := l.open(); err != nil {
		l.cfg.Path = was
		return err
	}
	if old != nil && old != l.file {
		return old.Close()
	}
	return nil
}

// Close ends the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.packing.Wait()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}

// Stream is one stream's way into the log. It is used by one goroutine.
type Stream struct {
	log     *Log
	name    string
	pending []byte // a line whose end has not come
}

// Stream begins a stream, "stdout" or "stderr".
func (l *Log) Stream(name string) *Stream { return &Stream{log: l, name: name} }

// Write logs complete lines and keeps the rest. It never keeps more than MaxLine bytes.
func (s *Stream) Write(p []byte) (int, error) {
	n := len(p)
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return n, nil
	}
	now := l.now()
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		room := MaxLine - len(s.pending)
		switch {
		case end >= 0 && end <= room:
			l.append(now, s.name, s.pending, p[:end], true)
			s.pending, p = s.pending[:0], p[end+1:]
		case end < 0 && len(p) <= room:
			s.pending, p = append(s.pending, p...), nil
		default:
			l.append(now, s.name, s.pending, p[:room], false)
			s.pending, p = s.pending[:0], p[room:]
		}
	}
	if len(s.pending) == 0 {
		s.pending = nil // an idle stream holds no buffer
	}
	return n, l.flush()
}

// Close logs what is left as a part of a line.
func (s *Stream) Close() error {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(s.pending) == 0 || l.file == nil {
		return nil
	}
	l.append(l.now(), s.name, s.pending, nil, false)
	s.pending = nil
	return l.flush()
}

// append formats one line, in two pieces, into the buffer. A character may lie across both, and a may be added to.
func (l *Log) append(now time.Time, stream string, a, b []byte, full bool) {
	start := len(l.line)
	if l.cfg.Format == CRI {
		l.line = now.UTC().AppendFormat(l.line, criTime)
		l.line = append(l.line, ' ')
		l.line = append(l.line, stream...)
		if full {
			l.line = append(l.line, " F "...)
		} else {
			l.line = append(l.line, " P "...)
		}
		l.line = append(append(l.line, a...), b...)
	} else {
		l.line = append(l.line, `{"log":"`...)
		if len(a) > 0 {
			b = append(a, b...)
		}
		l.line = appendJSON(l.line, b)
		if full {
			l.line = append(l.line, `\n`...)
		}
		l.line = append(l.line, `","stream":"`...)
		l.line = append(l.line, stream...)
		l.line = append(l.line, `",`...)
		l.line = append(l.line, l.attrs...)
		l.line = append(l.line, `"time":"`...)
		l.line = now.UTC().AppendFormat(l.line, time.RFC3339Nano)
		l.line = append(l.line, `"}`...)
	}
	l.line = append(l.line, '\n')
	if l.cfg.MaxSize > 0 && l.size+int64(start) > 0 && l.size+int64(len(l.line)) > l.cfg.MaxSize {
		// This line begins the next file.
		rest := append([]byte(nil), l.line[start:]...)
		l.line = l.line[:start]
		_ = l.flush()
		_ = l.rotate()
		l.line = append(l.line, rest...)
	}
}

// criTime keeps all nine digits, so that lines sort as text.
const criTime = "2006-01-02T15:04:05.000000000Z07:00"

func (l *Log) flush() error {
	if len(l.line) == 0 || l.file == nil {
		l.line = l.line[:0]
		return nil
	}
	n, err := l.file.Write(l.line)
	l.size += int64(n)
	if cap(l.line) > 4<<10 {
		l.line = nil
	} else {
		l.line = l.line[:0]
	}
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// rotate makes path path.1, path.1 path.2 and so on, and drops what is beyond MaxFiles. The caller holds l.mu.
func (l *Log) rotate() error {
	keep := max(l.cfg.MaxFiles, 1) - 1
	if keep == 0 {
		if err := l.file.Truncate(0); err != nil {
			return fmt.Errorf("truncate log: %w", err)
		}
		l.size = 0
		return nil
	}
	l.packing.Wait() // the file before this one
	suffix := ""
	if l.cfg.Compress {
		suffix = ".gz"
	}
	name := func(i int) string { return l.cfg.Path + "." + strconv.Itoa(i) }
	for i := keep - 1; i >= 1; i-- {
		if err := os.Rename(name(i)+suffix, name(i+1)+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	if err := os.Rename(l.cfg.Path, name(1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rotate log: %w", err)
	}
	old := l.file
	if err := l.open(); err != nil {
		return err
	}
	if l.cfg.Compress {
		l.packing.Go(func() { _ = pack(name(1)) })
	}
	return old.Close()
}

// pack makes path.gz of path. Should it go wrong, the plain file stays, and readers take it as well.
func pack(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("compress log: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("compress log: %w", err)
	}
	w := gzip.NewWriter(out)
	_, err = io.Copy(w, in)
	if err = errors.Join(err, w.Close(), out.Close()); err != nil {
		return errors.Join(fmt.Errorf("compress log: %w", err), os.Remove(path+".new"))
	}
	if err := os.Rename(path+".new", path+".gz"); err != nil {
		return fmt.Errorf("compress log: %w", err)
	}
	return os.Remove(path)
}

// appendJSON appends text as the inside of a JSON string. Bytes that are no UTF-8 become the replacement character.
func appendJSON(dst, text []byte) []byte {
	plain := true
	for _, c := range text {
		if c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			plain = false
			break
		}
	}
	if plain {
		return append(dst, text...)
	}
	b, err := json.Marshal(string(text))
	if err != nil {
		return dst
	}
	return append(dst, b[1:len(b)-1]...)
}
