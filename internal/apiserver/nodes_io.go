package apiserver

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Hijack hands the connection over; HTTP/2 streams cannot be.
func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.recorder.ResponseWriter).Hijack()
	if err == nil {
		h.recorder.wrote, h.recorder.code = true, http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// copyFlushing copies so that each read is seen at once.
func copyFlushing(w *recorder, r io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			w.Flush()
		}
		if err != nil {
			return
		}
	}
}

// agentError makes a Status of what the node agent answered.
func agentError(c *call, resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	text := strings.TrimSpace(string(b))
	if text == "" {
		text = resp.Status
	}
	switch resp.StatusCode {
	case http.StatusNotFound:
		return apierrors.NewGenericServerResponse(resp.StatusCode, "get", c.gr(), c.info.Name, text, 0, true)
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(text)
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, "get", c.gr(), c.info.Name, text, 0, true)
}

// separateEnd gives the end of a stream in a read of its own: who copies to a WebSocket drops data that comes with it.
type separateEnd struct {
	r   io.Reader
	err error
}

func (s *separateEnd) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(b)
	if n > 0 {
		s.err, err = err, nil
	}
	return n, err
}
