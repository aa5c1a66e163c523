package image

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
)

// flights are the pieces of work that several callers may want at the same time.
type flights struct {
	mu        sync.Mutex
	pulls     map[string]*pullFlight
	downloads map[digest.Digest]*download
}

// pullFlight is one running pull with all who wait for it. It is cancelled when the last of them has left.
type pullFlight struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	img    *Image
	err    error

	mu      sync.Mutex
	waiting int
	last    map[string]Event // latest event per ID, for those who come late
	order   []string
	subs    map[*feed]bool
}

// join runs f once for all callers with one key.
func (f *flights) join(ctx context.Context, key string, progress func(Event), run func(ctx context.Context, progress func(Event)) (*Image, error)) (*Image, error) {
	f.mu.Lock()
	p := f.pulls[key]
	if p == nil {
		if f.pulls == nil {
			f.pulls = map[string]*pullFlight{}
		}
		// The work belongs to everybody who waits, so it must not end with the first caller's context.
		work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		p = &pullFlight{cancel: cancel, done: make(chan struct{}), last: map[string]Event{}, subs: map[*feed]bool{}}
		f.pulls[key] = p
		go func() {
			p.img, p.err = run(work, p.publish)
			f.mu.Lock()
			if f.pulls[key] == p {
				delete(f.pulls, key)
			}
			f.mu.Unlock()
			close(p.done)
			cancel(nil)
		}()
	}
	told := p.subscribe(progress)
	f.mu.Unlock()
	if told.tell(ctx, p.done) {
		p.leave(told)
		return p.img, p.err
	}
	f.mu.Lock()
	if p.leave(told) == 0 {
		if f.pulls[key] == p {
			delete(f.pulls, key) // whoever comes now starts anew
		}
		p.cancel(context.Cause(ctx))
	}
	f.mu.Unlock()
	<-p.doneOrDetached()
	return nil, context.Cause(ctx)
}

// doneOrDetached: a caller whose cancellation ended the work waits for it to end, so that nothing runs behind its back.
func (p *pullFlight) doneOrDetached() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == 0 {
		return p.done
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

func (p *pullFlight) subscribe(progress func(Event)) *feed {
	f := newFeed(progress)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	for _, k := range p.order {
		f.put(p.last[k])
	}
	p.subs[f] = true
	return f
}

// leave answers how many are left.
func (p *pullFlight) leave(f *feed) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.subs, f)
	p.waiting--
	return p.waiting
}

func (p *pullFlight) publish(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.last[e.ID]; !ok {
		p.order = append(p.order, e.ID)
	}
	p.last[e.ID] = e
	for f := range p.subs {
		f.put(e)
	}
}

// download is one blob on its way in; whoever else wants the blob follows it, and is told how far it is.
type download struct {
	done chan struct{}
	err  error

	mu       sync.Mutex
	last     *Event
	watchers map[int]func(Event)
	next     int
}

// watch tells f how far the download is and how it goes on, until the answer is called. f must not wait for anything.
func (dl *download) watch(f func(Event)) (leave func()) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	id := dl.next
	dl.next++
	dl.watchers[id] = f
	if dl.last != nil {
		f(*dl.last)
	}
	return func() {
		dl.mu.Lock()
		defer dl.mu.Unlock()
		delete(dl.watchers, id)
	}
}

func (dl *download) tell(e Event) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	dl.last = &e
	for _, f := range dl.watchers {
		f(e)
	}
}

// begin answers the running download of d, or makes the caller its owner.
func (f *flights) begin(d digest.Digest) (dl *download, owner bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if dl := f.downloads[d]; dl != nil {
		return dl, false
	}
	if f.downloads == nil {
		f.downloads = map[digest.Digest]*download{}
	}
	dl = &download{done: make(chan struct{}), watchers: map[int]func(Event){}}
	f.downloads[d] = dl
	return dl, true
}

func (f *flights) end(d digest.Digest, dl *download, err error) {
	f.mu.Lock()
	delete(f.downloads, d)
	f.mu.Unlock()
	dl.err = err
	close(dl.done)
}
