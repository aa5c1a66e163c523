package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"nau/internal/engine/container"
)

// syncOutput bounds what ExecSync keeps of each stream, in bytes: the rest is read and dropped, so that no process floods this one.
const syncOutput = 16 << 20

// bounded keeps the first bytes that are written to it.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.Buffer.Write(p[:n])
	return len(p), nil
}

// ExecSync runs a command and returns its output and exit code.
func (s *Server) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	r, err := s.runningContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if t := req.GetTimeout(); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(t)*time.Second)
		defer cancel()
	}
	stdout, stderr := &bounded{left: syncOutput}, &bounded{left: syncOutput}
	code, err := s.e.Containers.Exec(ctx, r.ID, container.ExecConfig{Args: req.GetCmd(), Streams: container.Streams{Stdout: stdout, Stderr: stderr}})
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, status.Errorf(codes.DeadlineExceeded, "command %q timed out after %d s", req.GetCmd(), req.GetTimeout())
		}
		return nil, fault(err)
	}
	return &runtimeapi.ExecSyncResponse{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: int32(code)}, nil
}

// runningContainer finds a container that processes can join.
func (s *Server) runningContainer(id string) (*container.Record, error) {
	r, err := s.e.Containers.Find(id)
	if err != nil {
		return nil, fault(err)
	}
	if r.State != container.Running {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s is not running: it is %s", r.ID, r.State)
	}
	return r, nil
}

// Exec answers with a URL, good for one use, where the streams of a command are served over SPDY or WebSocket.
func (s *Server) Exec(ctx context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if _, err := s.runningContainer(req.GetContainerId()); err != nil {
		return nil, err
	}
	srv, err := s.streams.server()
	if err != nil {
		return nil, fault(err)
	}
	return srv.GetExec(req)
}

// Attach answers with a URL, good for one use, where a container's streams are served.
func (s *Server) Attach(ctx context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if _, err := s.runningContainer(req.GetContainerId()); err != nil {
		return nil, err
	}
	srv, err := s.streams.server()
	if err != nil {
		return nil, fault(err)
	}
	return srv.GetAttach(req)
}

// PortForward answers with a URL, good for one use, where connections to the sandbox's loopback are served.
func (s *Server) PortForward(ctx context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	if _, err := s.findSandbox(req.GetPodSandboxId()); err != nil {
		return nil, fault(err)
	}
	srv, err := s.streams.server()
	if err != nil {
		return nil, fault(err)
	}
	return srv.GetPortForward(req)
}

// streamer serves the URLs. It listens from the first one on.
type streamer struct {
	s    *Server
	mu   sync.Mutex
	srv  streaming.Server
	http *http.Server
}

func (t *streamer) init(s *Server) { t.s = s }

func (t *streamer) server() (streaming.Server, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.srv != nil {
		return t.srv, nil
	}
	l, err := net.Listen("tcp", t.s.cfg.StreamAddr)
	if err != nil {
		return nil, fmt.Errorf("serve streams: %w", err)
	}
	cfg := streaming.DefaultConfig
	cfg.BaseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
	srv, err := streaming.NewServer(cfg, t.s.Streamer())
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("serve streams: %w", err)
	}
	t.srv, t.http = srv, &http.Server{Handler: srv, ReadHeaderTimeout: 30 * time.Second}
	go func() { _ = t.http.Serve(l) }()
	return srv, nil
}

func (t *streamer) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.http != nil {
		_ = t.http.Close()
	}
}

// Streams runs exec, attach and port-forward with streams that the caller has already.
type Streams interface {
	streaming.Runtime
}

// Streamer returns the streaming calls as plain functions.
func (s *Server) Streamer() Streams { return direct{s} }

type direct struct{ s *Server }

// Exec runs a command. A non-zero exit is an ExitError of k8s.io/utils/exec.
func (d direct) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	r, err := d.s.runningContainer(id)
	if err != nil {
		return err
	}
	code, err := d.s.e.Containers.Exec(ctx, r.ID, container.ExecConfig{Args: cmd, Terminal: tty, Streams: streamsOf(ctx, in, out, errs, resize)})
	if err != nil {
		return err // shown to a user, and no gRPC call's
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

// Attach joins a container's streams.
func (d direct) Attach(ctx context.Context, id string, in io.Reader, out, errs io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	r, err := d.s.runningContainer(id)
	if err != nil {
		return err
	}
	return d.s.e.Containers.Attach(ctx, r.ID, streamsOf(ctx, in, out, errs, resize))
}

// PortForward connects stream with a port on the sandbox's loopback, IPv4 first.
func (d direct) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	r, err := d.s.findSandbox(id)
	if err != nil {
		return fault(err)
	}
	var conn net.Conn
	for _, host := range []string{"127.0.0.1", "::1"} {
		if conn, err = d.s.e.Sandboxes.Dial(ctx, r.ID, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port)))); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(conn, stream)
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, conn)
	_ = stream.Close() // ends the other direction, which may wait for the client
	_ = conn.Close()
	select {
	case <-sent:
	case <-time.After(time.Second):
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("forward port %d of sandbox %s: %w", port, id, err)
	}
	return nil
}

// streamsOf adapts the library's streams. A nil interface must stay nil.
func streamsOf(ctx context.Context, in io.Reader, out, errs io.WriteCloser, resize <-chan remotecommand.TerminalSize) container.Streams {
	st := container.Streams{Stdin: in}
	if out != nil {
		st.Stdout = out
	}
	if errs != nil {
		st.Stderr = errs
	}
	if resize != nil {
		sizes := make(chan container.Size)
		st.Resize = sizes
		go func() {
			defer close(sizes)
			for {
				select {
				case z, ok := <-resize:
					if !ok {
						return
					}
					select {
					case sizes <- container.Size{Width: z.Width, Height: z.Height}:
					case <-ctx.Done():
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return st
}
