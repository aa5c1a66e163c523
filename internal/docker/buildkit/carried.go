package buildkit

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"nau/internal/docker/buildkit/wire"
)

// Session takes a session whose connection a stream of this one carries, as clients do that share a session between builds.
func (c *controller) Session(stream grpc.BidiStreamingServer[wire.BytesMessage, wire.BytesMessage]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	head, _ := metadata.FromIncomingContext(ctx)
	return c.s.sessions.HandleConn(ctx, &carried{stream: stream, close: cancel}, head)
}

// carried is a connection in a stream of messages.
type carried struct {
	stream grpc.BidiStreamingServer[wire.BytesMessage, wire.BytesMessage]
	close  func()
	rest   []byte // of the last message
	send   sync.Mutex
}

func (c *carried) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		m, err := c.stream.Recv()
		if err != nil {
			return 0, err
		}
		c.rest = m.Data
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *carried) Write(b []byte) (int, error) {
	c.send.Lock()
	defer c.send.Unlock()
	if err := c.stream.Send(&wire.BytesMessage{Data: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *carried) Close() error { c.close(); return nil }

func (c *carried) LocalAddr() net.Addr  { return &net.UnixAddr{Name: "stream", Net: "unix"} }
func (c *carried) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "stream", Net: "unix"} }

// Deadlines are the outer connection's.
func (c *carried) SetDeadline(time.Time) error      { return nil }
func (c *carried) SetReadDeadline(time.Time) error  { return nil }
func (c *carried) SetWriteDeadline(time.Time) error { return nil }
