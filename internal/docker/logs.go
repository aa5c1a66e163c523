package docker

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"nau/internal/engine/container"
	"nau/internal/engine/logs"
)

// logRequest is what a client wants of a log.
type logRequest struct {
	stdout, stderr, follow, timestamps, details bool
	since, until                                time.Time
	tail                                        int // -1: all
}

// getLogs answers GET /containers/{id}/logs.
func (s *Server) getLogs(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	q := logRequest{stdout: c.flag("stdout"), stderr: c.flag("stderr"), follow: c.flag("follow"), timestamps: c.flag("timestamps"), details: c.flag("details"), tail: -1}
	if !q.stdout && !q.stderr {
		return badRequest("must specify at least one of 'stdout' or 'stderr'")
	}
	if v := c.get("tail"); v != "" && v != "all" {
		n, err := strconv.Atoi(v)
		if err == nil && n >= 0 {
			q.tail = n
		}
	}
	if q.since, err = parseTime(c.get("since")); err != nil {
		return badRequest("invalid value for \"since\": %v", err)
	}
	if q.until, err = parseTime(c.get("until")); err != nil {
		return badRequest("invalid value for \"until\": %v", err)
	}
	st := load(r)
	if off, _ := strconv.ParseBool(st.Host.LogConfig.Config["cache-disabled"]); off || r.Config.Log.Format == noLog || r.Config.Log.Path == "" {
		return fail(http.StatusNotImplemented, "configured logging driver does not support reading")
	}
	tty := st.Config.Tty
	kind := "application/vnd.docker.raw-stream"
	if !tty && c.atLeast("1.42") {
		kind = "application/vnd.docker.multiplexed-stream"
	}
	c.w.Header().Set("Content-Type", kind)
	c.w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(c.w)
	_ = rc.Flush()
	var w io.Writer = c.w
	if q.follow {
		w = flushed{c.w, rc}
	}
	out, errs := multiplex(w)
	if tty {
		out, errs = w, w
	}
	return s.copyLogs(c.ctx(), r, q, out, errs)
}

// copyLogs reads a container's log, and with follow until the container ends.
func (s *Server) copyLogs(ctx context.Context, r *container.Record, q logRequest, out, errs io.Writer) error {
	if r.Config.Log.Path == "" {
		return nil
	}
	o := logs.Options{Follow: q.follow, Timestamps: q.timestamps, Details: q.details, Since: q.since, Until: q.until, Tail: q.tail}
	if q.stdout {
		o.Stdout = out
	}
	if q.stderr {
		o.Stderr = errs
	}
	if q.follow {
		ended := make(chan struct{})
		o.Ended = ended
		sub := s.hub.follow(r.ID)
		now, err := s.e.Containers.Get(r.ID)
		if err != nil || !running(now) && !s.between(now) {
			s.hub.unsubscribe(sub)
			close(ended)
		} else {
			follow, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() {
				defer s.hub.unsubscribe(sub)
				defer close(ended)
				select {
				case <-sub.ch:
				case <-follow.Done():
				case <-s.life.Done():
				}
			}()
		}
	}
	return logs.Read(ctx, r.Config.Log.Path, o)
}

func itoa(n int) string { return strconv.Itoa(n) }
