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
	subs    map[int]func(Event)
	nextSub int
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
		p = &pullFlight{cancel: cancel, done: make(chan struct{}), last: map[string]Event{}, subs: map[int]func(Event){}}
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
	leave := p.subscribe(progress)
	f.mu.Unlock()
	select {
	case <-p.done:
		leave()
		return p.img, p.err
	case <-ctx.Done():
		f.mu.Lock()
		if leave() == 0 {
			if f.pulls[key] == p {
				delete(f.pulls, key) // whoever comes now starts anew
			}
			p.cancel(context.Cause(ctx))
		}
		f.mu.Unlock()
		<-p.doneOrDetached()
		return nil, context.Cause(ctx)
	}
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

func (p *pullFlight) subscribe(progress func(Event)) (leave func() int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	id := p.nextSub
	p.nextSub++
	if progress != nil {
		for _, k := range p.order {
			progress(p.last[k])
		}
		p.subs[id] = progress
	}
	return func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.subs, id)
		p.waiting--
		return p.waiting
	}
}

func (p *pullFlight) publish(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.last[e.ID]; !ok {
		p.order = append(p.order, e.ID)
	}
	p.last[e.ID] = e
	for _, f := range p.subs {
		f(e)
	}
}

// download is one blob on its way in; whoever else wants the blob follows it.
type download struct {
	done chan struct{}
	err  error
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
	dl = &download{done: make(chan struct{})}
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
