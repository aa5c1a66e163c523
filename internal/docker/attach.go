package docker

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/moby/moby/api/types"
	dc "github.com/moby/moby/api/types/container"
	de "github.com/moby/moby/api/types/events"

	"nau/internal/engine/container"
	"nau/internal/engine/events"
)

// attach joins a container's streams to the line that open gives. A container that does not run yet is joined from its first byte.
func (s *Server) attach(c *call, open func(tty bool) (*wire, error)) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	keys, err := parseDetachKeys(c.get("detachKeys"))
	if err != nil {
		return err
	}
	if r.State == container.Paused {
		return conflict("container %s is paused, unpause the container before attach", c.vars["id"])
	}
	st := load(r)
	tty := st.Config.Tty
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()

	// The place is taken before the client hears of it: it starts the container then.
	streams := container.Streams{}
	in, out, errs := &late{}, &late{}, &late{}
	in.ready, out.ready, errs.ready = make(chan struct{}), make(chan struct{}), make(chan struct{})
	if c.flag("stdin") && st.Config.OpenStdin {
		streams.Stdin = in
	}
	if c.flag("stdout") {
		streams.Stdout = out
	}
	if c.flag("stderr") {
		streams.Stderr = errs
	}
	var place *container.Attachment
	if c.flag("stream") {
		if place, err = s.e.Containers.Join(c.ctx(), r.ID, streams); err != nil {
			return err
		}
	}
	line, err := open(tty)
	if err != nil {
		if place != nil {
			place.Leave()
		}
		return err
	}
	defer line.conn.Close()
	s.hub.container(de.ActionAttach, r, nil)
	if c.flag("logs") {
		_ = s.copyLogs(ctx, r, logRequest{stdout: c.flag("stdout"), stderr: c.flag("stderr"), tail: -1}, line.out, line.errs)
	}
	if place == nil {
		return nil
	}
	detached := false
	out.open(nil, line.out)
	errs.open(nil, line.errs)
	in.open(&detachable{from: &watched{line.in, func() {
		if streams.Stdin == nil {
			cancel()
		}
	}}, keys: keys, gone: func() { detached = true; cancel() }}, nil)
	if streams.Stdin == nil {
		go func() { // nothing is read but the client's going away
			buf := make([]byte, 512)
			for {
				if _, err := line.in.Read(buf); err != nil {
					return
				}
			}
		}()
	}
	_ = place.Run(ctx)
	if detached {
		s.hub.container(de.ActionDetach, r, nil)
	}
	line.end()
	return nil
}

// wire is a client's connection, with its streams.
type wire struct {
	conn      io.Closer
	in        io.Reader
	out, errs io.Writer
	end       func() // says that no more output comes
}

// attachContainer answers POST /containers/{id}/attach.
func (s *Server) attachContainer(c *call) error {
	err := s.attach(c, func(tty bool) (*wire, error) {
		conn, reader, err := c.hijack(tty)
		if err != nil {
			return nil, err
		}
		o, e := multiplex(conn)
		if tty {
			o, e = conn, conn
		}
		return &wire{conn, reader, o, e, func() { closeWrite(conn) }}, nil
	})
	if err == nil || statusOf(err) == 0 {
		return err
	}
	// The answer is a stream, and so are the words of one that is refused.
	c.w.Header().Set("Content-Type", types.MediaTypeRawStream)
	c.w.WriteHeader(statusOf(err))
	_, _ = io.WriteString(c.w, oneLine(err)+"\r\n")
	return errAnswered
}

// sameSide judges the Origin of a WebSocket: it is the host that was asked, or, over a Unix socket, where hosts have no names, this machine.
func sameSide(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	if err != nil {
		return false
	}
	if r.Header.Get("Origin") == "" || strings.EqualFold(u.Host, r.Host) {
		return true
	}
	_, unix := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
	a, _ := netip.ParseAddr(u.Hostname())
	return unix && (u.Hostname() == "localhost" || a.IsLoopback())
}

// attachWebSocket answers GET /containers/{id}/attach/ws: both outputs as they are, without frames of their own, in binary messages, or in
// text messages to clients before 1.28.
func (s *Server) attachWebSocket(c *call) error {
	return s.attach(c, func(bool) (*wire, error) {
		if !websocket.IsWebSocketUpgrade(c.Request) {
			return nil, badRequest("GET /containers/%s/attach/ws needs a WebSocket connection: the request has no Upgrade: websocket", c.vars["id"])
		}
		up := websocket.Upgrader{CheckOrigin: sameSide, Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			writeError(w, fail(status, "%v", reason))
		}}
		conn, err := up.Upgrade(c.w, c.Request, nil)
		if err != nil {
			return nil, errAnswered
		}
		conn.SetReadLimit(maxMessage)
		kind := websocket.BinaryMessage
		if !c.atLeast("1.28") {
			kind = websocket.TextMessage
		}
		m := &messages{conn: conn, kind: kind}
		return &wire{conn, m, m, m, m.end}, nil
	})
}

// maxMessage bounds what a WebSocket client sends at once.
const maxMessage = 1 << 20

// messages make streams of a WebSocket.
type messages struct {
	conn *websocket.Conn
	kind int
	mu   sync.Mutex // of writes: two outputs share the connection
	now  io.Reader  // the message that is being read
}

func (m *messages) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := b
	if m.kind == websocket.TextMessage {
		text = bytes.ToValidUTF8(b, []byte("\uFFFD")) // RFC 6455, section 5.6
	}
	if err := m.conn.WriteMessage(m.kind, text); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (m *messages) Read(b []byte) (int, error) {
	for {
		if m.now == nil {
			_, r, err := m.conn.NextReader()
			if err != nil {
				return 0, io.EOF // closed, in whatever way
			}
			m.now = r
		}
		n, err := m.now.Read(b)
		if err == io.EOF {
			m.now = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

func (m *messages) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
}

// waitContainer answers POST /containers/{id}/wait. The answer's head comes at once, so that the client knows that nothing will be missed.
func (s *Server) waitContainer(c *call) error {
	condition := c.get("condition")
	if !c.atLeast("1.30") {
		condition = ""
	}
	switch condition {
	case "", "not-running", "next-exit", "removed":
	default:
		return badRequest("invalid condition: %q", condition)
	}
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	sub := s.hub.follow(r.ID)
	defer s.hub.unsubscribe(sub)
	if r, err = s.find(r.ID); err != nil { // as it is now that its end will be heard
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(c.w).Flush()
	answer := func(code int) error {
		writeBody(c.w, dc.WaitResponse{StatusCode: int64(code)})
		return nil
	}
	code := r.ExitCode
	if condition == "" || condition == "not-running" {
		if !running(r) && !s.between(r) {
			return answer(code)
		}
	}
	for {
		select {
		case m, ok := <-sub.ch:
			if !ok {
				return nil
			}
			switch events.Action(m.Action) {
			case events.Die:
				code = atoi(m.Actor.Attributes["exitCode"])
				if condition != "removed" {
					if !load(r).Host.AutoRemove {
						s.settle(c.ctx(), r.ID) // what it held is free when the client hears of it
					}
					return answer(code)
				}
			case events.Destroy:
				if now := m.Actor.Attributes["exitCode"]; now != "" {
					code = atoi(now)
				}
				return answer(code)
			}
		case <-c.ctx().Done():
			return nil
		case <-s.life.Done():
			return nil
		}
	}
}
