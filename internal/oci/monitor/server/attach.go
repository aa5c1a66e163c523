package server

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/oci/monitor"
)

// attach answers with a socket for each stream that is wanted and there.
func (s *Server) attach(conn *monitor.Conn, req *monitor.Request) {
	c, err := s.find(req.ID)
	if err == nil && req.Attach == nil {
		err = fmt.Errorf("attach: %w: no stream is named", monitor.ErrInvalid)
	}
	if err == nil && !c.ready() {
		err = fmt.Errorf("attach to container %s: %w", req.ID, monitor.ErrState)
	}
	if err != nil {
		s.answer(conn, nil, err)
		return
	}
	st := c.streams
	st.mu.Lock()
	hasStdin, terminal := st.stdin != nil, st.terminal != nil
	st.mu.Unlock()
	var names []string
	var theirs []int
	defer func() {
		for _, fd := range theirs {
			_ = unix.Close(fd)
		}
	}()
	var begin []func()
	add := func(name string, f func(*os.File)) error {
		ours, other, err := pair(name)
		if err != nil {
			return err
		}
		names, theirs = append(names, name), append(theirs, other)
		begin = append(begin, func() { f(ours) })
		return nil
	}
	if req.Attach.Stdout {
		err = add("stdout", st.outputs["stdout"].join)
	}
	if err == nil && req.Attach.Stderr && !terminal {
		err = add("stderr", st.outputs["stderr"].join)
	}
	if err == nil && req.Attach.Stdin && hasStdin {
		err = add("stdin", func(f *os.File) { go st.feed(f) })
	}
	if err != nil {
		s.answer(conn, nil, err)
		return
	}
	// Joined before the answer: what the container says from now on is the caller's.
	for _, f := range begin {
		f()
	}
	list, err := json.Marshal(names)
	if err != nil {
		return
	}
	body, err := json.Marshal(monitor.Response{Result: list})
	if err != nil {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := conn.Write(body, theirs...); err != nil {
		s.cfg.Log.Warn("answer attach", "id", req.ID, "error", err)
	}
}
