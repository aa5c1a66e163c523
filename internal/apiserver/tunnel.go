package apiserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/proxy"
)

// Port-forward over a WebSocket (KEP-4006) is the bytes of a SPDY connection in binary messages: the client asks for
// subprotocol SPDY/3.1+NAME, where NAME is the stream protocol that a SPDY client would have asked for in a header.
const (
	tunnelPrefix   = "SPDY/3.1+"
	streamProtocol = "X-Stream-Protocol-Version"
)

// tunnelled are the stream protocols that the request offers below a WebSocket.
func tunnelled(r *http.Request) []string {
	if !websocket.IsWebSocketUpgrade(r) {
		return nil
	}
	var out []string
	for _, p := range websocket.Subprotocols(r) {
		if name, ok := strings.CutPrefix(p, tunnelPrefix); ok && name != "" {
			out = append(out, name)
		}
	}
	return out
}

// tunnel joins the client's WebSocket with a SPDY connection to the agent. The agent is asked first: what it refuses is
// answered as a Status, before there is a WebSocket.
func (c *call) tunnel(to *url.URL, rt http.RoundTripper, protocols []string) error {
	agent, reply, err := upgradeSPDY(c, to, rt, protocols)
	if err != nil {
		return err
	}
	defer agent.Close()
	upgrader := websocket.Upgrader{ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10, Subprotocols: []string{tunnelPrefix + reply.Header.Get(streamProtocol)}}
	client, err := upgrader.Upgrade(hijackable{c.w}, c.r, nil)
	if err != nil {
		return nil // the upgrader has answered
	}
	defer client.Close()
	go func() {
		defer agent.Close()
		_ = fromMessages(agent, client)
	}()
	_ = toMessages(client, agent)
	_ = client.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	return nil
}

// spdyConn is a connection with what its handshake's reader read ahead.
type spdyConn struct {
	net.Conn
	read *bufio.Reader
}

func (s *spdyConn) Read(b []byte) (int, error) { return s.read.Read(b) }

func upgradeSPDY(c *call, to *url.URL, rt http.RoundTripper, protocols []string) (net.Conn, *http.Response, error) {
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, to.String(), nil)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "SPDY/3.1")
	req.Header[http.CanonicalHeaderKey(streamProtocol)] = protocols
	conn, err := proxy.DialURL(c.ctx, to, rt)
	if err != nil {
		return nil, nil, apierrors.NewServiceUnavailable(fmt.Sprintf("reach the agent of the pod's node: %v", err))
	}
	read := bufio.NewReader(conn)
	reply, err := exchange(conn, read, req)
	if err == nil && reply.StatusCode != http.StatusSwitchingProtocols {
		err = agentError(c, reply)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return &spdyConn{conn, read}, reply, nil
}

func exchange(conn net.Conn, read *bufio.Reader, req *http.Request) (*http.Response, error) {
	if err := req.Write(conn); err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("ask the agent for an upgrade: %w", err))
	}
	reply, err := http.ReadResponse(read, req)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("read the agent's answer to an upgrade: %w", err))
	}
	return reply, nil
}

// fromMessages copies the bytes of binary messages until the client closes.
func fromMessages(to io.Writer, from *websocket.Conn) error {
	for {
		kind, message, err := from.NextReader()
		if err != nil {
			return err
		}
		if kind != websocket.BinaryMessage {
			return errors.New("a tunnel carries binary messages only")
		}
		if _, err := io.Copy(to, message); err != nil {
			return err
		}
	}
}

// toMessages copies what comes into one binary message a read.
func toMessages(to *websocket.Conn, from io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if werr := to.WriteMessage(websocket.BinaryMessage, buf[:n]); werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
	}
}
