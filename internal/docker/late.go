package docker

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// late is a stream whose other end is known only later: reads and writes wait for it.
type late struct {
	ready chan struct{}
	r     io.Reader
	w     io.Writer
}

func (l *late) open(r io.Reader, w io.Writer) {
	l.r, l.w = r, w
	close(l.ready)
}

func (l *late) Read(b []byte) (int, error) {
	<-l.ready
	return l.r.Read(b)
}

func (l *late) Write(b []byte) (int, error) {
	<-l.ready
	return l.w.Write(b)
}

// watched tells when its reader ends.
type watched struct {
	io.Reader
	ended func()
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if err != nil {
		w.ended()
	}
	return n, err
}

func writeBody(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
