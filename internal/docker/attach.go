package docker

import (
	"context"
	"net/http"
	"time"

	dc "github.com/moby/moby/api/types/container"
	de "github.com/moby/moby/api/types/events"

	"nau/internal/engine/container"
	"nau/internal/engine/events"
)

// attachContainer answers POST /containers/{id}/attach. A container that does not run yet is joined from its first byte.
func (s *Server) attachContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	keys, err := parseDetachKeys(c.get("detachKeys"))
	if err != nil {
		return err
	}
	if r.State == container.Paused {
		return conflict("container %s is paused, unpause the container before attach", r.ID)
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
	conn, reader, err := c.hijack(tty)
	if err != nil {
		if place != nil {
			cancel()
			_ = place.Run(ctx)
		}
		return err
	}
	defer conn.Close()
	s.hub.container(de.ActionAttach, r, nil)
	o, e := multiplex(conn)
	if tty {
		o, e = conn, conn
	}
	if c.flag("logs") {
		_ = s.copyLogs(ctx, r, logRequest{stdout: c.flag("stdout"), stderr: c.flag("stderr"), tail: -1}, o, e)
	}
	if place == nil {
		return nil
	}
	detached := false
	out.open(nil, o)
	errs.open(nil, e)
	in.open(&detachable{from: &watched{reader, func() {
		if streams.Stdin == nil {
			cancel()
		}
	}}, keys: keys, gone: func() { detached = true; cancel() }}, nil)
	if streams.Stdin == nil {
		go func() { // nothing is read but the client's going away
			buf := make([]byte, 512)
			for {
				if _, err := reader.Read(buf); err != nil {
					return
				}
			}
		}()
	}
	_ = place.Run(ctx)
	if detached {
		s.hub.container(de.ActionDetach, r, nil)
	}
	closeWrite(conn)
	return nil
}

// waitContainer answers POST /containers/{id}/wait. The answer's head comes at once, so that the client knows that nothing will be missed.
func (s *Server) waitContainer(c *call) error {
	condition := c.get("condition")
	switch condition {
	case "", "not-running", "next-exit", "removed":
	default:
		return badRequest("invalid condition: %q", condition)
	}
	sub, _ := s.hub.subscribe(time.Time{})
	defer s.hub.unsubscribe(sub)
	r, err := s.byID(c)
	if err != nil {
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
		if !running(r) && !s.restarts.pending(r.ID) {
			return answer(code)
		}
	}
	for {
		select {
		case m, ok := <-sub.ch:
			if !ok {
				return nil
			}
			if m.Actor.ID != r.ID || m.Type != de.ContainerEventType {
				continue
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
