package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
)

// transport is an [http.RoundTripper] that calls a handler. A read's response that
// the handler flushes, or that outgrows the buffer, is streamed, and its handler
// has a goroutine of its own; any other is complete when RoundTrip returns. A
// write's handler runs in the caller's goroutine, since nothing that is written
// is answered by a stream. Connections cannot be hijacked: exec and the like go
// over the network.
type transport struct {
	handler  http.Handler
	withUser WithUser
}

// streamAfter bounds what is buffered before a response becomes a stream.
const streamAfter = 4 << 20

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(t.withUser(req.Context()))
	served := req.Clone(ctx)
	served.RequestURI = req.URL.RequestURI()
	served.RemoteAddr = "in-process"
	served.Proto, served.ProtoMajor, served.ProtoMinor = "HTTP/2.0", 2, 0
	if served.Body == nil {
		served.Body = http.NoBody
	}
	w := &response{header: http.Header{}, ready: make(chan struct{}), ctx: ctx, cancel: cancel}
	w.filled.L = &w.mu
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		go t.serve(w, served)
	} else {
		w.whole = true
		t.serve(w, served)
	}
	select {
	case <-w.ready:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		w.abandon()
		cancel()
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		cancel()
		return nil, w.failed
	}
	resp := &http.Response{
		Status:     http.StatusText(w.status),
		StatusCode: w.status,
		Proto:      "HTTP/2.0", ProtoMajor: 2,
		Header:        w.sent,
		Body:          w,
		ContentLength: -1,
		Request:       req,
	}
	if w.finished {
		resp.ContentLength = int64(w.body.Len())
	}
	return resp, nil
}

// serve has the handler answer.
func (t *transport) serve(w *response, req *http.Request) {
	defer req.Body.Close()
	defer func() {
		p := recover()
		w.finish(p)
		if p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	t.handler.ServeHTTP(w, req)
}

// response is the handler's ResponseWriter and the caller's Body.
type response struct {
	ctx    context.Context
	cancel context.CancelFunc
	header http.Header   // the handler's
	ready  chan struct{} // closed when the caller can have the response
	whole  bool          // it gets the response when the handler has returned

	mu        sync.Mutex
	filled    sync.Cond // body, finished or closed changed
	status    int
	sent      http.Header // as it was at WriteHeader
	body      bytes.Buffer
	released  bool // ready is closed
	finished  bool // the handler has returned
	closed    bool // the caller reads no more
	failed    error
	stopWatch func() bool
}

// Header implements [http.ResponseWriter].
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *response) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *response) writeHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status, w.sent = status, w.header.Clone()
	}
}

// Write implements [http.ResponseWriter]. A stream whose reader lags blocks.
func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	for w.released && w.body.Len() > streamAfter && !w.closed {
		w.filled.Wait()
	}
	if w.closed {
		return 0, context.Canceled
	}
	n, _ := w.body.Write(p)
	if w.body.Len() > streamAfter && !w.whole {
		w.release()
	}
	if w.released {
		w.filled.Broadcast()
	}
	return n, nil
}

// Flush implements [http.Flusher]: from now on the response is a stream.
func (w *response) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	if !w.whole {
		w.release()
		w.filled.Broadcast()
	}
}

// release hands the response to the caller. mu is held.
func (w *response) release() {
	if !w.released {
		w.released = true
		// A reader blocked on a stream must notice that its request was ended.
		w.stopWatch = context.AfterFunc(w.ctx, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.filled.Broadcast()
		})
		close(w.ready)
	}
}

func (w *response) finish(panicked any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if panicked != nil {
		w.failed = io.ErrUnexpectedEOF
	}
	w.writeHeader(http.StatusOK)
	w.finished = true
	w.release()
	w.filled.Broadcast()
}

func (w *response) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.filled.Broadcast()
}

// Read implements the response's Body.
func (w *response) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.closed:
			return 0, http.ErrBodyReadAfterClose
		case w.body.Len() > 0:
			n, _ := w.body.Read(p)
			w.filled.Broadcast()
			return n, nil
		case w.failed != nil:
			return 0, w.failed
		case w.finished:
			return 0, io.EOF
		case w.ctx.Err() != nil:
			return 0, w.ctx.Err()
		}
		w.filled.Wait()
	}
}

// Close implements the response's Body: the handler's context ends.
func (w *response) Close() error {
	w.abandon()
	w.stopWatch()
	w.cancel()
	return nil
}
