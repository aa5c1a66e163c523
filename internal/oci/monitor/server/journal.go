package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"nau/internal/oci/monitor"
)

// journalLimit is how many events are kept for who comes late. Beyond it the older half is forgotten.
const journalLimit = 8192

// journal numbers events, keeps them over a restart and tells them to any number of readers.
type journal struct {
	mu     sync.Mutex
	path   string
	file   *os.File
	events []monitor.Event // ordered, without gaps
	next   uint64
	more   chan struct{} // closed when an event is added
}

// openJournal reads what a former monitor wrote. A last line cut short by a crash is dropped.
func openJournal(path string) (*journal, error) {
	j := &journal{path: path, next: 1, more: make(chan struct{})}
	f, err := os.Open(path)
	if err == nil {
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var e monitor.Event
			if json.Unmarshal(lines.Bytes(), &e) != nil || e.Seq < j.next {
				continue
			}
			j.events, j.next = append(j.events, e), e.Seq+1
		}
		_ = f.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, j.rewrite()
}

// rewrite makes the file hold what is in memory.
func (j *journal) rewrite() error {
	if len(j.events) > journalLimit {
		j.events = append([]monitor.Event(nil), j.events[len(j.events)-journalLimit/2:]...)
	}
	f, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	w := bufio.NewWriter(f)
	out := json.NewEncoder(w)
	for i := range j.events {
		if err := out.Encode(&j.events[i]); err != nil {
			_ = f.Close()
			return fmt.Errorf("write journal: %w", err)
		}
	}
	if err := errors.Join(w.Flush(), os.Rename(j.path+".new", j.path)); err != nil {
		_ = f.Close()
		return fmt.Errorf("write journal: %w", err)
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	j.file = f
	return nil
}

// add numbers the event and writes it.
func (j *journal) add(e monitor.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Seq = j.next
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	b, err := json.Marshal(&e)
	if err != nil {
		return err
	}
	j.next++
	j.events = append(j.events, e)
	close(j.more)
	j.more = make(chan struct{})
	if len(j.events) > journalLimit {
		return j.rewrite()
	}
	if _, err := j.file.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// after waits for events numbered above since and returns them, at most a thousand.
func (j *journal) after(ctx context.Context, since uint64) ([]monitor.Event, error) {
	for {
		j.mu.Lock()
		if since >= j.next {
			since = 0 // a number from another time: the journal was begun anew, with the machine
		}
		var batch []monitor.Event
		if n := len(j.events); n > 0 && since < j.next-1 {
			start := 0
			if first := j.events[0].Seq; since >= first {
				start = int(since - first + 1)
			}
			batch = append(batch, j.events[start:min(n, start+1000)]...)
		}
		more := j.more
		j.mu.Unlock()
		if len(batch) > 0 {
			return batch, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = j.file.Close()
}
