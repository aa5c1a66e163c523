package layer

import (
	"io"
	"sync"
)

// readAhead reads r in a goroutine of its own, so that decompression runs beside hashing and the writing of files, which together take about as long.
// Every byte passes tap, in the reader's goroutine, before anybody sees it. Two buffers are enough to keep both sides busy and small enough for eight layers at once.
type readAhead struct {
	full  chan chunk
	free  chan []byte
	stop  chan struct{}
	once  sync.Once
	cur   []byte
	whole []byte
	err   error
	done  chan struct{}
	tap   io.Writer
}

type chunk struct {
	data []byte
	err  error
}

const (
	chunkSize  = 256 << 10
	chunkCount = 3
)

var chunkPool = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

func newReadAhead(r io.Reader, tap io.Writer) *readAhead {
	a := &readAhead{full: make(chan chunk, chunkCount), free: make(chan []byte, chunkCount), stop: make(chan struct{}), done: make(chan struct{}), tap: tap}
	for range chunkCount {
		a.free <- *chunkPool.Get().(*[]byte)
	}
	go a.run(r)
	return a
}

func (a *readAhead) run(r io.Reader) {
	defer close(a.done)
	for {
		var b []byte
		select {
		case b = <-a.free:
		case <-a.stop:
			return
		}
		var (
			n   int
			err error
		)
		for n < chunkSize && err == nil {
			var m int
			m, err = r.Read(b[n:chunkSize])
			n += m
		}
		select {
		case a.full <- chunk{b[:n], err}:
		case <-a.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.cur) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.whole != nil {
			a.free <- a.whole
			a.whole = nil
		}
		c := <-a.full
		a.cur, a.whole, a.err = c.data, c.data[:cap(c.data)], c.err
		a.tap.Write(a.cur)
	}
	n := copy(p, a.cur)
	a.cur = a.cur[n:]
	return n, nil
}

// Close ends the reading. The goroutine is gone when it returns, so r must not block for ever.
func (a *readAhead) Close() {
	a.once.Do(func() {
		close(a.stop)
		<-a.done
		for {
			select {
			case b := <-a.free:
				b = b[:cap(b)]
				if len(b) >= chunkSize {
					chunkPool.Put(&b)
				}
				continue
			default:
			}
			return
		}
	})
}
