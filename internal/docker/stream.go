package docker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types"
)

// framed writes one stream of a multiplexed connection: a header of eight bytes (stream, 0, 0, 0, length big endian), then the bytes.
// Source: Docker Engine API, "Attach to a container, stream format".
type framed struct {
	to     io.Writer
	mu     *sync.Mutex // shared by the streams of one connection
	stream byte
}

func (f framed) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	frame := make([]byte, 8, 8+len(b))
	frame[0] = f.stream
	binary.BigEndian.PutUint32(frame[4:], uint32(len(b)))
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.to.Write(append(frame, b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// multiplex gives the writers of standard output and error over one connection.
func multiplex(w io.Writer) (out, errs io.Writer) {
	mu := &sync.Mutex{}
	return framed{w, mu, 1}, framed{w, mu, 2}
}

// hijack takes the connection over and tells the client so.
func (c *call) hijack(raw bool) (net.Conn, *bufio.Reader, error) {
	conn, rw, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return nil, nil, fail(http.StatusInternalServerError, "take over connection: %v", err)
	}
	kind := types.MediaTypeRawStream
	if !raw && c.atLeast("1.42") {
		kind = types.MediaTypeMultiplexedStream
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + kind + "\r\n\r\n"
	if c.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + kind + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	if _, err := io.WriteString(conn, head); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, rw.Reader, nil
}

// closeWrite says that no more output comes, and lets the client go on sending.
func closeWrite(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// errDetached ends the input of a client that typed its detach keys.
var errDetached = errors.New("read escape sequence")

// defaultDetach is Docker's ctrl-p, ctrl-q.
var defaultDetach = []byte{16, 17}

// parseDetachKeys reads "ctrl-a,b,ctrl-\\".
func parseDetachKeys(text string) ([]byte, error) {
	if text == "" {
		return defaultDetach, nil
	}
	var out []byte
	for _, k := range strings.Split(text, ",") {
		switch {
		case len(k) == 1:
			out = append(out, k[0])
		case strings.HasPrefix(k, "ctrl-") && len(k) == 6:
			ch := k[5]
			switch {
			case ch >= 'a' && ch <= 'z':
				out = append(out, ch-'a'+1)
			case ch == '@':
				out = append(out, 0)
			case strings.IndexByte("[\\]^_", ch) >= 0:
				out = append(out, ch-'['+27)
			default:
				return nil, badRequest("Invalid detach keys (%s) provided", text)
			}
		default:
			return nil, badRequest("Invalid detach keys (%s) provided", text)
		}
	}
	return out, nil
}

// detachable passes input on until the keys come.
type detachable struct {
	from io.Reader
	keys []byte
	held int    // keys that have matched so far
	rest []byte // to hand out first
	end  error  // after rest
	gone func()
}

func (d *detachable) Read(b []byte) (int, error) {
	for {
		if len(d.rest) > 0 {
			n := copy(b, d.rest)
			d.rest = d.rest[n:]
			return n, nil
		}
		if d.end != nil {
			if d.end == errDetached {
				d.gone()
			}
			return 0, d.end
		}
		buf := make([]byte, len(b))
		n, err := d.from.Read(buf)
		d.end = err
		d.take(buf[:n])
	}
}

// take sorts what was read into keys and input.
func (d *detachable) take(b []byte) {
	for _, ch := range b {
		if ch != d.keys[d.held] {
			d.rest = append(d.rest, d.keys[:d.held]...)
			d.held = 0
			if ch != d.keys[0] {
				d.rest = append(d.rest, ch)
				continue
			}
		}
		if d.held++; d.held == len(d.keys) {
			d.end = errDetached
			return
		}
	}
}

// flushed writes through to the client at once.
type flushed struct {
	w   io.Writer
	out *http.ResponseController
}

func (f flushed) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		_ = f.out.Flush()
	}
	return n, err
}

// atoi reads a number parameter.
func (c *call) number(name string, otherwise int) (int, error) {
	v := c.get(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, badRequest("invalid value for %s: %s", name, v)
	}
	return n, nil
}
