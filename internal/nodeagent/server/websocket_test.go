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

// TestExecOverWebSocket holds that the newest client is served at its first try.
func TestExecOverWebSocket(t *testing.T) {
	srv := httptest.NewServer(New(Config{Node: "n1", Backend: oneContainer{}, Streamer: shouter{}, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(*http.Request) (*Who, bool, error) { return &Who{Name: "u"}, true, nil },
		Authorize:    func(context.Context, Ask) (bool, string, error) { return true, "", nil }}))
	defer srv.Close()
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
