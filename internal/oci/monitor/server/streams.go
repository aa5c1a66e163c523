package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/oci/monitor"
	"nau/internal/oci/monitor/logfile"
)

// streams are a container's standard streams: the monitor's ends, the log, and who is attached.
//
// Output is read by one goroutine a stream, which holds no buffer while nothing comes. It goes to the log first, then to
// each attached client; a client that takes nothing for a while is let go, so that it cannot hold up the container.
type streams struct {
	log  *logfile.Log
	once bool // close stdin when the first attached stdin ends

	mu       sync.Mutex
	stdin    *os.File // nil: none, or closed
	terminal *os.File // the terminal's outer end; also stdin and stdout then
	outputs  map[string]*output
	pumps    sync.WaitGroup
}

// output is one stream out of the container.
type output struct {
	mu       sync.Mutex
	attached []*os.File
	closed   bool
}

// patience is how long an attached client may take nothing.
const patience = 10 * time.Second

// buffers for reading; none is held while a stream is idle.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func newStreams(cfg monitor.LogConfig, once bool) (*streams, error) {
	l, err := logfile.Open(logfile.Config{Path: cfg.Path, Format: logfile.Format(cfg.Format), MaxSize: cfg.MaxSize, MaxFiles: cfg.MaxFiles, Compress: cfg.Compress, Attrs: cfg.Attrs}, time.Now)
	if err != nil {
		return nil, err
	}
	return &streams{log: l, once: once, outputs: map[string]*output{"stdout": {}, "stderr": {}}}, nil
}

// ends are the container's ends of its streams.
type ends struct{ fds [3]int }

func (e *ends) close() {
	for i, fd := range e.fds {
		if fd >= 0 {
			_ = unix.Close(fd)
			e.fds[i] = -1
		}
	}
}

// makeFifos makes the container's FIFOs in dir and opens its ends. The outputs are opened for both directions: while the
// container lives there is a reader, so that a write waits for a monitor rather than fails.
func makeFifos(dir string, stdin bool) (e *ends, err error) {
	e = &ends{[3]int{-1, -1, -1}}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		if i == 0 && !stdin {
			continue
		}
		path := filepath.Join(dir, name)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return e, fmt.Errorf("make fifo %s: %w", name, err)
		}
		flags := unix.O_RDWR
		if i == 0 {
			flags = unix.O_RDONLY | unix.O_NONBLOCK // else it waits for the writer, which is us
		}
		if e.fds[i], err = unix.Open(path, flags|unix.O_CLOEXEC, 0); err != nil {
			return e, fmt.Errorf("open fifo %s: %w", name, err)
		}
		if i == 0 {
			if err := unix.SetNonblock(e.fds[i], false); err != nil {
				return e, fmt.Errorf("set fifo stdin blocking: %w", err)
			}
		}
	}
	return e, nil
}

// openFifos opens the monitor's ends and begins to read. stdin is left out after a restart when the container has closed
// its end.
func (s *streams) openFifos(dir string, stdin bool) error {
	for _, name := range []string{"stdout", "stderr"} {
		fd, err := unix.Open(filepath.Join(dir, name), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open fifo %s: %w", name, err)
		}
		s.pump(name, os.NewFile(uintptr(fd), name))
	}
	if stdin {
		fd, err := unix.Open(filepath.Join(dir, "stdin"), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
			return nil // nobody reads any more
		}
		if err != nil {
			return fmt.Errorf("open fifo stdin: %w", err)
		}
		s.mu.Lock()
		s.stdin = os.NewFile(uintptr(fd), "stdin")
		s.mu.Unlock()
	}
	return nil
}

// useTerminal reads and writes a terminal instead.
func (s *streams) useTerminal(master int) error {
	if err := unix.SetNonblock(master, true); err != nil {
		return err
	}
	f := os.NewFile(uintptr(master), "terminal")
	s.mu.Lock()
	s.terminal, s.stdin = f, f
	s.mu.Unlock()
	s.pump("stdout", f)
	return nil
}

// pump copies a stream until its end.
func (s *streams) pump(name string, from *os.File) {
	s.pumps.Add(1)
	go func() {
		defer s.pumps.Done()
		out := s.outputs[name]
		into := s.log.Stream(name)
		copyIdle(from, func(b []byte) {
			_, _ = into.Write(b) // a full disk must not stop the container
			out.send(b)
		})
		_ = into.Close()
		out.close()
		if s.isTerminal(from) {
			return // closed with the container: a late resize must not fail
		}
		_ = from.Close()
	}()
}

func (s *streams) isTerminal(f *os.File) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f == s.terminal
}

// copyIdle reads from f until its end, with a buffer only while there is something to read.
func copyIdle(f *os.File, each func([]byte)) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for {
		var n int
		var got error
		var buf *[]byte
		err := raw.Read(func(fd uintptr) bool {
			buf = buffers.Get().(*[]byte)
			for {
				n, got = unix.Read(int(fd), *buf)
				if got != unix.EINTR {
					break
				}
			}
			if got == unix.EAGAIN {
				buffers.Put(buf)
				buf = nil
				return false
			}
			return true
		})
		if buf != nil {
			if err == nil && got == nil && n > 0 {
				each((*buf)[:n])
			}
			buffers.Put(buf)
		}
		// EIO: a terminal's last inner end was closed.
		if err != nil || got != nil || n <= 0 {
			return
		}
	}
}

// copyRest takes what is in f now and waits for nothing. A terminal holds less than the bound.
func copyRest(f *os.File, each func([]byte)) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	const bound = 1 << 20
	for total := 0; total < bound; {
		n, got := 0, error(unix.EINTR)
		err := raw.Control(func(fd uintptr) {
			for got == unix.EINTR {
				n, got = unix.Read(int(fd), *buf)
			}
		})
		if err != nil || got != nil || n <= 0 {
			return
		}
		each((*buf)[:n])
		total += n
	}
}

func (o *output) send(b []byte) {
	o.mu.Lock()
	clients := o.attached
	o.mu.Unlock()
	for _, f := range clients {
		_ = f.SetWriteDeadline(time.Now().Add(patience))
		if _, err := f.Write(b); err != nil {
			o.drop(f)
		}
	}
}

func (o *output) drop(f *os.File) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, x := range o.attached {
		if x == f {
			o.attached = append(append([]*os.File(nil), o.attached[:i]...), o.attached[i+1:]...)
			_ = f.Close()
			return
		}
	}
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, f := range o.attached {
		_ = f.Close()
	}
	o.attached = nil
}

// join adds a client; one that comes after the end gets the end.
func (o *output) join(f *os.File) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		_ = f.Close()
		return
	}
	o.attached = append(append([]*os.File(nil), o.attached...), f)
	o.mu.Unlock()
	// A client that leaves while nothing is said is noticed too.
	go func() {
		one := make([]byte, 64)
		for {
			if _, err := f.Read(one); err != nil {
				o.drop(f)
				return
			}
		}
	}()
}

// closeStdin ends the container's standard input. A terminal's is ended with its end-of-file character.
func (s *streams) closeStdin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stdin == nil {
		return nil
	}
	if s.stdin == s.terminal {
		_ = s.stdin.SetWriteDeadline(time.Now().Add(patience))
		_, err := s.stdin.Write([]byte{4})
		return err
	}
	f := s.stdin
	s.stdin = nil
	return f.Close()
}

// feed copies a client's input to the container until either ends. Who leaves a terminal ends nothing: the next who comes types on.
func (s *streams) feed(from *os.File) {
	defer from.Close()
	s.mu.Lock()
	stdin := s.stdin
	s.mu.Unlock()
	if stdin == nil {
		return
	}
	_, err := io.Copy(stdin, from)
	if s.once && !s.isTerminal(stdin) && !errors.Is(err, os.ErrClosed) {
		_ = s.closeStdin()
	}
}

// close ends everything, when the container is gone.
func (s *streams) close() {
	s.mu.Lock()
	files := []*os.File{s.stdin}
	if s.terminal != s.stdin {
		files = append(files, s.terminal)
	}
	s.stdin, s.terminal = nil, nil
	s.mu.Unlock()
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
	for _, o := range s.outputs {
		o.close()
	}
	_ = s.log.Close()
}

// drained waits until all output has been read, at most for the given time.
func (s *streams) drained(most time.Duration) {
	done := make(chan struct{})
	go func() {
		s.pumps.Wait()
		close(done)
	}()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// pair makes a connected pair of sockets: ours, and one to be passed on.
func pair(name string) (ours *os.File, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("make socket pair: %w", err)
	}
	_ = unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), name), fds[1], nil
}
