package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is one end of a unix stream socket that carries frames: four bytes of length, big endian, then that many bytes of
// JSON. Descriptors travel with a frame's first bytes. It is built on os.File alone, so that the small executable does not
// link the net package.
type Conn struct {
	file *os.File
	raw  syscall.RawConn
}

// NewConn takes over fd, a connected unix stream socket.
func NewConn(fd int) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("set socket non-blocking: %w", err)
	}
	file := os.NewFile(uintptr(fd), "monitor")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &Conn{file: file, raw: raw}, nil
}

// Dial connects to the monitor at path.
func Dial(path string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	// Blocking until here: a connect to a full backlog waits.
	for {
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%w: connect %s: %w", ErrUnavailable, path, err)
	}
	return NewConn(fd)
}

// Close ends the connection.
func (c *Conn) Close() error { return c.file.Close() }

// SetDeadline bounds reads and writes.
func (c *Conn) SetDeadline(t time.Time) error { return c.file.SetDeadline(t) }

// Control runs f with the socket's descriptor.
func (c *Conn) Control(f func(fd uintptr)) error { return c.raw.Control(f) }

// Write sends one frame with the descriptors of files.
func (c *Conn) Write(body []byte, files ...int) error {
	if len(body) > MaxFrame {
		return fmt.Errorf("send frame of %d bytes: larger than %d", len(body), MaxFrame)
	}
	frame := make([]byte, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	copy(frame[4:], body)
	var control []byte
	if len(files) > 0 {
		control = unix.UnixRights(files...)
	}
	for len(frame) > 0 {
		var n int
		var sent error
		err := c.raw.Write(func(fd uintptr) bool {
			n, sent = unix.SendmsgN(int(fd), frame, control, nil, unix.MSG_NOSIGNAL)
			return sent != unix.EAGAIN && sent != unix.EINTR
		})
		if err == nil {
			err = sent
		}
		if err != nil {
			return fmt.Errorf("send frame: %w", err)
		}
		frame, control = frame[n:], nil
	}
	return nil
}

// Read receives one frame and the descriptors that came with it, which the caller owns. A clean end is io.EOF.
func (c *Conn) Read() (body []byte, files []int, err error) {
	defer func() {
		if err != nil {
			for _, fd := range files {
				_ = unix.Close(fd)
			}
			files = nil
		}
	}()
	var head [4]byte
	if files, err = c.fill(head[:], files); err != nil {
		return nil, files, err
	}
	size, err := FrameSize(head)
	if err != nil {
		return nil, files, err
	}
	body = make([]byte, size)
	if files, err = c.fill(body, files); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, files, err
	}
	return body, files, nil
}

// FrameSize decodes a frame's head: the length of the body in bytes.
func FrameSize(head [4]byte) (int, error) {
	size := binary.BigEndian.Uint32(head[:])
	if size > MaxFrame {
		return 0, fmt.Errorf("read frame of %d bytes: larger than %d", size, MaxFrame)
	}
	return int(size), nil
}

func (c *Conn) fill(buf []byte, files []int) ([]int, error) {
	oob := make([]byte, unix.CmsgSpace(4*MaxFiles))
	for got := 0; got < len(buf); {
		var n, oobn int
		var received error
		err := c.raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, received = unix.Recvmsg(int(fd), buf[got:], oob, unix.MSG_CMSG_CLOEXEC)
			return received != unix.EAGAIN && received != unix.EINTR
		})
		if err == nil {
			err = received
		}
		if err != nil {
			return files, fmt.Errorf("receive frame: %w", err)
		}
		if oobn > 0 {
			more, err := rights(oob[:oobn])
			if files = append(files, more...); err != nil {
				return files, err
			}
			if len(files) > MaxFiles {
				return files, fmt.Errorf("receive frame: more than %d descriptors", MaxFiles)
			}
		}
		if n == 0 {
			if got > 0 {
				return files, io.ErrUnexpectedEOF
			}
			return files, io.EOF
		}
		got += n
	}
	return files, nil
}

func rights(oob []byte) (files []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, fmt.Errorf("parse descriptors: %w", err)
		}
		files = append(files, fds...)
	}
	return files, nil
}
