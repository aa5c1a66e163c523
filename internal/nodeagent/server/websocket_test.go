package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	restclient "k8s.io/client-go/rest"
	clientcommand "k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

type oneContainer struct{ Backend }

func (oneContainer) Container(string, string, string, string) (string, bool, error) {
	return "id", false, nil
}

// shouter answers what it reads in capitals once its stdin has ended, and exits with 3.
type shouter struct{ streaming.Runtime }

func (shouter) Exec(_ context.Context, id string, cmd []string, in io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %v %s", id, cmd, bytes.ToUpper(b))
	fmt.Fprint(errs, "warned")
	return utilexec.CodeExitError{Err: errors.New("exit 3"), Code: 3}
}

// deaf ends well without a look at its input.
type deaf struct{ streaming.Runtime }

func (deaf) Exec(context.Context, string, []string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return nil
}

func serve(t *testing.T, runtime streaming.Runtime) *httptest.Server {
	srv := httptest.NewServer(New(Config{Node: "n1", Backend: oneContainer{}, Streamer: runtime, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(*http.Request) (*Who, bool, error) { return &Who{Name: "u"}, true, nil },
		Authorize:    func(context.Context, Ask) (bool, string, error) { return true, "", nil }}))
	t.Cleanup(srv.Close)
	return srv
}

// TestInputAfterTheEnd holds that a client which goes on sending to a command that has ended is told of the end, and is cut
// off by nobody before it has closed its side.
func TestInputAfterTheEnd(t *testing.T) {
	srv := serve(t, deaf{})
	dialer := websocket.Dialer{Subprotocols: []string{remotecommand.StreamProtocolV5Name}}
	conn, resp, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http")+"/exec/a/b/c?command=true&input=1&output=1", nil)
	if err != nil {
		t.Fatalf("%v %v", err, resp)
	}
	defer conn.Close()
	conn.SetCloseHandler(func(int, string) error { return nil }) // it was in the middle of sending
	var last []byte
	for {
		_, m, err := conn.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			break
		}
		if err != nil {
			t.Fatalf("after %q: %v", last, err)
		}
		last = m
	}
	if !bytes.Contains(last, []byte(`"Success"`)) {
		t.Errorf("last message %q", last)
	}
	for i, chunk := 0, make([]byte, 32<<10); i < 256; i++ {
		if err := conn.WriteMessage(websocket.BinaryMessage, chunk); err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
	}
}

// TestExecOverWebSocket holds that the newest client is served at its first try.
func TestExecOverWebSocket(t *testing.T) {
	srv := serve(t, shouter{})
	u, err := url.Parse(srv.URL + "/exec/a/b/c?command=shout&input=1&output=1&error=1")
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientcommand.NewWebSocketExecutor(&restclient.Config{Host: srv.URL}, http.MethodGet, u.String())
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	err = client.StreamWithContext(t.Context(), clientcommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs})
	var exit clientexec.CodeExitError
	if !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("end: %v", err)
	}
	if out.String() != "id [shout] HELLO" || errs.String() != "warned" {
		t.Errorf("streams: %q %q", out.String(), errs.String())
	}
}
