package image

import (
	"context"
	"sync"
)

// feed carries what happens to one who is told of it, at their own pace: whoever publishes never waits for a reader. A client that stands still
// finds, when it goes on, the latest of every kind of news about every layer; so what is kept is bounded.
type feed struct {
	progress func(Event) // nil: nobody listens
	wake     chan struct{}

	mu   sync.Mutex
	news []Event
}

func newFeed(progress func(Event)) *feed {
	return &feed{progress: progress, wake: make(chan struct{}, 1)}
}

func (f *feed) put(e Event) {
	if f.progress == nil {
		return
	}
	f.mu.Lock()
	f.news = merge(f.news, e)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// merge adds e to news that nobody has read yet. How far something is replaces how far it was.
func merge(news []Event, e Event) []Event {
	for i := len(news) - 1; i >= 0 && e.ID != "" && e.Total > 0; i-- {
		if news[i].ID != e.ID {
			continue
		}
		if news[i].Status == e.Status {
			news[i] = e
			return news
		}
		break
	}
	return append(news, e)
}

// tell passes on what is put until done is closed and everything is told: true; or until the context ends.
func (f *feed) tell(ctx context.Context, done <-chan struct{}) bool {
	for {
		select {
		case <-f.wake:
			f.drain()
		case <-done:
			f.drain()
			return true
		case <-ctx.Done():
			return false
		}
	}
}

func (f *feed) drain() {
	f.mu.Lock()
	news := f.news
	f.news = nil
	f.mu.Unlock()
	for _, e := range news {
		f.progress(e)
	}
}
