// Package forward sends containers' logs on to the machine's or another machine's log: syslog and journald.
//
// The monitor writes every container's output to a file, whether this program runs or not; a forwarder reads that file from where the
// last one stopped and sends what it finds. So nothing is lost when this program ends, is killed or is upgraded, no container waits for a slow
// receiver, and what cannot be sent now is sent later, as long as rotation keeps it. A record may be sent twice after a crash, never skipped.
//
// It knows no containers but by what Meta says. The engine's Docker front imports it.
package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"nau/internal/engine/logs"
)

// Meta is what receivers are told of a container.
type Meta struct {
	ID, Name, Image string
	Tag             string            // by which the receiver sorts; made of a template before
	Attrs           map[string]string // labels and environment that the options chose
}

// Sink takes records.
type Sink interface {
	Write(logs.Entry) error
	Close() error
}

// Job is one container's log and where it goes.
type Job struct {
	Log    string               // the monitor's file
	Cursor string               // the file that keeps how far it was sent
	Open   func() (Sink, error) // connects; called again when a connection breaks
	Warn   *slog.Logger
}

// The pauses between attempts to reach a receiver.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
)

// Run sends until ended closes and all is sent, or ctx ends.
func (j Job) Run(ctx context.Context, ended <-chan struct{}) {
	pause := firstPause
	for ctx.Err() == nil {
		err := j.attempt(ctx, ended, func() { pause = firstPause })
		if err == nil || ctx.Err() != nil {
			return
		}
		j.Warn.Warn("forward log; trying again", "log", j.Log, "pause", pause, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, lastPause)
	}
}

// attempt sends over one connection. worked is called for each batch that went out.
func (j Job) attempt(ctx context.Context, ended <-chan struct{}, worked func()) error {
	sink, err := j.Open()
	if err != nil {
		return err
	}
	defer sink.Close()
	c, err := openCursor(j.Cursor)
	if err != nil {
		return err
	}
	defer c.file.Close()
	return logs.Tail(ctx, j.Log, c.get(), ended, func(batch []logs.Entry, at logs.Position) error {
		for _, e := range batch {
			if err := sink.Write(e); err != nil {
				return err
			}
		}
		worked()
		return c.set(at)
	})
}

// cursor is a file of 24 bytes: inode, offset, and their exclusive or, big endian. One that is damaged is the beginning.
type cursor struct{ file *os.File }

func openCursor(path string) (*cursor, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keep place in log: the container is gone: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("keep place in log: %w", err)
	}
	return &cursor{f}, nil
}

func (c *cursor) get() logs.Position {
	b := make([]byte, 24)
	if n, _ := c.file.ReadAt(b, 0); n != len(b) {
		return logs.Position{}
	}
	inode, offset, check := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
	if inode^offset != check {
		return logs.Position{}
	}
	return logs.Position{Inode: inode, Offset: int64(offset)}
}

func (c *cursor) set(p logs.Position) error {
	b := make([]byte, 24)
	binary.BigEndian.PutUint64(b, p.Inode)
	binary.BigEndian.PutUint64(b[8:], uint64(p.Offset))
	binary.BigEndian.PutUint64(b[16:], p.Inode^uint64(p.Offset))
	if _, err := c.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("keep place in log: %w", err)
	}
	return nil
}
