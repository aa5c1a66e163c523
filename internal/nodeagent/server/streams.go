package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/proxy"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// How long a stream may be idle, and how long a client may take to open its streams.
const (
	streamIdle   = 4 * time.Hour
	streamCreate = remotecommand.DefaultStreamCreationTimeout
)

func (h *handler) container(r *http.Request) (id string, tty bool, err error) {
	return h.Backend.Container(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("uid"), r.PathValue("container"))
}

// executor runs commands in process for package remotecommand: the container's id is already known.
type executor struct{ streaming.Runtime }

func (e executor) ExecInContainer(ctx context.Context, _ string, _ string, id string, cmd []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return e.Exec(ctx, id, cmd, in, out, err, tty, resize)
}

func (e executor) AttachContainer(ctx context.Context, _ string, _ string, id string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return e.Attach(ctx, id, in, out, err, tty, resize)
}

type forwarder struct{ streaming.Runtime }

func (f forwarder) PortForward(ctx context.Context, sandbox, _ string, port int32, stream io.ReadWriteCloser) error {
	return f.Runtime.PortForward(ctx, sandbox, port, stream)
}

func (h *handler) exec(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, _, err := h.container(r)
	if err != nil {
		h.fail(w, err)
		return
	}
	cmd := r.URL.Query()["command"]
	if h.Streamer != nil && asksV5(r) {
		h.serveV5(w, r, opts, func(ctx context.Context, in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error {
			return h.Streamer.Exec(ctx, id, cmd, in, out, err, opts.TTY, resize)
		})
		return
	}
	if h.Streamer != nil {
		remotecommand.ServeExec(lingering{w}, r, executor{h.Streamer}, "", "", id, cmd, opts, streamIdle, streamCreate, remotecommand.SupportedStreamingProtocols)
		return
	}
	res, err := h.Runtime.Exec(r.Context(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: cmd, Tty: opts.TTY, Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr})
	if err != nil {
		h.fail(w, err)
		return
	}
	h.proxy(w, r, res.Url)
}

func (h *handler) attach(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, tty, err := h.container(r)
	if err != nil {
		h.fail(w, err)
		return
	}
	opts.TTY = tty
	if tty {
		opts.Stderr = false
	}
	if h.Streamer != nil && asksV5(r) {
		h.serveV5(w, r, opts, func(ctx context.Context, in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error {
			return h.Streamer.Attach(ctx, id, in, out, err, opts.TTY, resize)
		})
		return
	}
	if h.Streamer != nil {
		remotecommand.ServeAttach(lingering{w}, r, executor{h.Streamer}, "", "", id, opts, streamIdle, streamCreate, remotecommand.SupportedStreamingProtocols)
		return
	}
	res, err := h.Runtime.Attach(r.Context(), &runtimeapi.AttachRequest{ContainerId: id, Tty: opts.TTY, Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr})
	if err != nil {
		h.fail(w, err)
		return
	}
	h.proxy(w, r, res.Url)
}

func (h *handler) portForward(w http.ResponseWriter, r *http.Request) {
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, err := h.Backend.Sandbox(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("uid"))
	if err != nil {
		h.fail(w, err)
		return
	}
	if h.Streamer != nil {
		portforward.ServePortForward(w, r, forwarder{h.Streamer}, id, "", opts, streamIdle, streamCreate, portforward.SupportedProtocols)
		return
	}
	res, err := h.Runtime.PortForward(r.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: id, Port: opts.Ports})
	if err != nil {
		h.fail(w, err)
		return
	}
	h.proxy(w, r, res.Url)
}

// run runs a command to its end and returns its output.
func (h *handler) run(w http.ResponseWriter, r *http.Request) {
	id, _, err := h.container(r)
	if err != nil {
		h.fail(w, err)
		return
	}
	var timeout int64
	if v := r.URL.Query().Get("timeout"); v != "" {
		timeout, _ = strconv.ParseInt(v, 10, 64)
	}
	res, err := h.Runtime.ExecSync(r.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: strings.Fields(r.URL.Query().Get("cmd")), Timeout: timeout})
	if err != nil {
		h.fail(w, err)
		return
	}
	if res.ExitCode != 0 {
		http.Error(w, fmt.Sprintf("command exited with %d: %s%s", res.ExitCode, res.Stdout, res.Stderr), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(append(res.Stdout, res.Stderr...))
}

// proxy joins the caller's connection with one to the address that the runtime named for it.
func (h *handler) proxy(w http.ResponseWriter, r *http.Request, address string) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		h.fail(w, fmt.Errorf("dial the runtime's stream: address %q: %v", address, err))
		return
	}
	// The runtime listens on this machine and its address is good for one use.
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	p := proxy.NewUpgradeAwareHandler(u, t, false, true, responder{h})
	p.UseLocationHost = true
	p.ServeHTTP(w, r)
}

type responder struct{ h *handler }

func (s responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	s.h.fail(w, err)
}
