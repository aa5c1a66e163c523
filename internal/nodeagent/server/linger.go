package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A command may end while its client still sends. A connection that is closed with input unread is reset, and a reset can
// overtake the last words on their way: the client, or the API server between, would not learn how the command ended.

// lingerTime is how long a client may take to close its side.
const lingerTime = 5 * time.Second

// lingering hands out connections that close in an orderly way.
type lingering struct{ http.ResponseWriter }

func (l lingering) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(l.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &lingerConn{Conn: conn}, rw, nil
}

type lingerConn struct {
	net.Conn
	once sync.Once
	err  error
}

// Close ends what is written, drops what still comes until the other side closes too, and then gives the connection back.
func (c *lingerConn) Close() error {
	c.once.Do(func() {
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
			_, _ = io.Copy(io.Discard, c.Conn)
		}
		c.err = c.Conn.Close()
	})
	return c.err
}
