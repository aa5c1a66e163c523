package apiserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// agents is a node agent that answers logs and echoes upgraded connections.
type agents struct {
	srv *httptest.Server
}

func newAgents(t *testing.T) *agents {
	a := &agents{}
	a.srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if up := r.Header.Get("Upgrade"); up != "" {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if strings.HasSuffix(r.URL.Path, "/asleep") {
				fmt.Fprint(rw, "HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\npod asleep has no home")
				rw.Flush()
				return
			}
			fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Saw: %s?%s\r\n", up, r.URL.Path, r.URL.RawQuery)
			fmt.Fprintf(rw, "X-Stream-Protocol-Version: %s\r\n\r\n", r.Header.Get("X-Stream-Protocol-Version"))
			rw.Flush()
			_, _ = io.Copy(conn, rw)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/containerLogs/") {
			if r.URL.Query().Get("previous") == "true" {
				http.Error(w, `previous terminated container "c" in pod "web" not found`, http.StatusBadRequest)
				return
			}
			fmt.Fprintf(w, "log of %s?%s", r.URL.Path, r.URL.RawQuery)
			return
		}
		fmt.Fprintf(w, "saw %s %s", r.Method, r.URL)
	}))
	t.Cleanup(a.srv.Close)
	return a
}

func (a *agents) Agent(_ context.Context, node string) (*url.URL, http.RoundTripper, error) {
	u, err := url.Parse(a.srv.URL)
	return u, &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, err
}

func (a *agents) Network() http.RoundTripper { return http.DefaultTransport }

func TestNodeStreams(t *testing.T) {
	ag := newAgents(t)
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "pod %s %s", r.Method, r.URL) }))
	t.Cleanup(back.Close)
	c := newCluster(t, func(cfg *Config) { cfg.Nodes = ag })
	c.namespace("ns")
	const pod = "/api/v1/namespaces/ns/pods/web"
	c.do("POST", "/api/v1/namespaces/ns/pods", podBody).want(201)
	c.do("POST", "/api/v1/nodes", `{"metadata":{"name":"n1"}}`).want(201)
	c.do("POST", pod+"/binding", `{"target":{"name":"n1"}}`).want(201)
	c.do("POST", pod+"/binding", `{"target":{"name":"n2"}}`).fails(409, metav1.StatusReasonConflict, `pod web is already assigned to node "n1"`)

	if got := c.do("GET", pod+"/log?tailLines=3", nil).want(200); string(got.body) != "log of /containerLogs/ns/web/c?tailLines=3" || got.header.Get("Content-Type") != "text/plain" {
		t.Fatalf("log: %s %v", got.body, got.header)
	}
	c.do("GET", pod+"/log?container=zz", nil).fails(400, metav1.StatusReasonBadRequest, "container zz is not valid for pod web")
	c.do("GET", pod+"/log?previous=true", nil).fails(400, metav1.StatusReasonBadRequest, "not found")
	if got := c.do("GET", "/api/v1/nodes/n1/proxy/stats/summary?x=1", nil).want(200); string(got.body) != "saw GET /stats/summary?x=1" {
		t.Fatalf("proxy: %s", got.body)
	}
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(back.URL, "http://"))
	c.do("PATCH", pod+"/status", `{"status":{"podIP":"`+host+`","podIPs":[{"ip":"`+host+`"}]}}`, "Content-Type", "application/merge-patch+json").want(200)
	proxy := "/api/v1/namespaces/ns/pods/web:" + port + "/proxy"
	if got := c.do("OPTIONS", proxy+"/a/b?x=y", nil).want(200); string(got.body) != "pod OPTIONS /a/b?x=y" {
		t.Fatalf("proxy: %s", got.body)
	}
	if got := c.do("GET", proxy, nil).want(301); got.header.Get("Location") != proxy+"/" {
		t.Fatalf("redirect: %v", got.header)
	}
	c.do("POST", pod+"/exec?stdout=1", nil).fails(400, metav1.StatusReasonBadRequest, "you must specify at least 1 command")

	front := httptest.NewTLSServer(c.Handler())
	t.Cleanup(front.Close)
	for _, tc := range []struct{ path, upgrade, want string }{
		{pod + "/exec?command=sh&command=-c&stdin=true&stdout=true&container=c", "SPDY/3.1", "/exec/ns/web/c?command=sh&command=-c&input=1&output=1"},
		{pod + "/attach?stdout=1", "websocket", "/attach/ns/web/c?output=1"},
		{pod + "/portforward", "SPDY/3.1", "/portForward/ns/web?"},
	} {
		conn, err := tls.Dial("tcp", front.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		echo(t, conn, tc.path, tc.upgrade, tc.want)
		conn.Close()
	}

	ws, _, err := (&websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Subprotocols: []string{"binary.k8s.io"}}).Dial("wss"+strings.TrimPrefix(front.URL, "https")+pod+"/log?container=c", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	var text []byte
	for {
		_, b, err := ws.ReadMessage()
		text = append(text, b...)
		if err != nil {
			break
		}
	}
	if string(text) != "log of /containerLogs/ns/web/c?" {
		t.Fatalf("log over a WebSocket: %q", text)
	}
}

// A port-forward over a WebSocket is a SPDY connection to the agent, its bytes in
// binary messages.
func TestPortForwardTunnel(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.Nodes = newAgents(t) })
	c.namespace("ns")
	const pods = "/api/v1/namespaces/ns/pods"
	c.do("POST", "/api/v1/nodes", `{"metadata":{"name":"n1"}}`).want(201)
	for _, name := range []string{"web", "asleep"} {
		c.do("POST", pods, strings.Replace(podBody, `"web"`, `"`+name+`"`, 1)).want(201)
		c.do("POST", pods+"/"+name+"/binding", `{"target":{"name":"n1"}}`).want(201)
	}
	front := httptest.NewTLSServer(c.Handler())
	t.Cleanup(front.Close)
	dial := func(pod string, protocols ...string) (*websocket.Conn, *http.Response, error) {
		return (&websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Subprotocols: protocols}).Dial("wss"+strings.TrimPrefix(front.URL, "https")+pods+"/"+pod+"/portforward", nil)
	}
	ws, _, err := dial("web", "SPDY/3.1+portforward.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if got := ws.Subprotocol(); got != "SPDY/3.1+portforward.k8s.io" {
		t.Errorf("the server chose %q", got)
	}
	sent := strings.Repeat("0123456789abcdef", 20<<10) // several frames, several reads
	said := make(chan struct{})
	go func() {
		defer close(said)
		for part := range 5 {
			if err := ws.WriteMessage(websocket.BinaryMessage, []byte(sent[part*len(sent)/5:(part+1)*len(sent)/5])); err != nil {
				t.Error(err)
			}
		}
	}()
	var got []byte
	for len(got) < len(sent) {
		kind, b, err := ws.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage {
			t.Fatalf("after %d bytes: kind %d, %v", len(got), kind, err)
		}
		got = append(got, b...)
	}
	if string(got) != sent {
		t.Error("the bytes that came back are others")
	}
	<-said
	// The agent ends the connection when its reader ends: a text message is not of the protocol.
	if err := ws.WriteMessage(websocket.TextMessage, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("after a foreign message: %v", err)
	}

	_, resp, err := dial("asleep", "SPDY/3.1+portforward.k8s.io")
	if err == nil || resp == nil || resp.StatusCode != http.StatusNotFound {
		t.Fatalf("the agent's refusal: %v, %v", resp, err)
	}
	if b, _ := io.ReadAll(resp.Body); !strings.Contains(string(b), "pod asleep has no home") {
		t.Errorf("the agent's refusal says %s", b)
	}
}

func echo(t *testing.T, conn net.Conn, path, upgrade, want string) {
	t.Helper()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", path, upgrade)
	rd := bufio.NewReader(conn)
	resp, err := http.ReadResponse(rd, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("X-Saw") != want {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s %v %s", path, resp.Status, resp.Header, b)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(rd, got); err != nil || string(got) != "hello" {
		t.Fatalf("%s: echoed %q, %v", path, got, err)
	}
}
