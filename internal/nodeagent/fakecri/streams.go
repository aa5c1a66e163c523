package fakecri

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	remotecommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// Streams runs exec, attach and port-forward in process. It can be a node agent's Streamer.
func (r *Runtime) Streams() streaming.Runtime { return streams{r} }

// ServeStreams answers exec, attach and port-forward at URLs on loopback, as a runtime in another process does: the calls of CRI
// return those from now on. Close ends it.
func (r *Runtime) ServeStreams() (io.Closer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for streams: %w", err)
	}
	cfg := streaming.DefaultConfig
	cfg.BaseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
	s, err := streaming.NewServer(cfg, r.Streams())
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("make server of streams: %w", err)
	}
	r.mu.Lock()
	r.streams = s
	r.mu.Unlock()
	h := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = h.Serve(l) }() // until Close
	return h, nil
}

// server is that of the streams.
func (r *Runtime) server(call string) (streaming.Server, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[call]++
	if r.streams == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "call %s: ServeStreams was not called", call)
	}
	return r.streams, nil
}

// Exec implements CRI: the URL of a stream, once ServeStreams was called.
func (r *Runtime) Exec(_ context.Context, in *runtimeapi.ExecRequest, _ ...grpc.CallOption) (*runtimeapi.ExecResponse, error) {
	s, err := r.server("Exec")
	if err != nil {
		return nil, err
	}
	if _, err := r.running(in.ContainerId); err != nil {
		return nil, err
	}
	return s.GetExec(in)
}

// Attach implements CRI, as Exec.
func (r *Runtime) Attach(_ context.Context, in *runtimeapi.AttachRequest, _ ...grpc.CallOption) (*runtimeapi.AttachResponse, error) {
	s, err := r.server("Attach")
	if err != nil {
		return nil, err
	}
	if _, err := r.running(in.ContainerId); err != nil {
		return nil, err
	}
	return s.GetAttach(in)
}

// PortForward implements CRI, as Exec.
func (r *Runtime) PortForward(_ context.Context, in *runtimeapi.PortForwardRequest, _ ...grpc.CallOption) (*runtimeapi.PortForwardResponse, error) {
	s, err := r.server("PortForward")
	if err != nil {
		return nil, err
	}
	return s.GetPortForward(in)
}

// running is the configuration of a container that runs.
func (r *Runtime) running(id string) (*runtimeapi.ContainerConfig, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return nil, notFound("container", id)
	}
	if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running", id)
	}
	return c.config, nil
}

type streams struct{ r *Runtime }

// Exec answers what Options.Exec does; input is read and thrown away.
func (s streams) Exec(_ context.Context, id string, cmd []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	config, err := s.r.running(id)
	if err != nil {
		return err
	}
	if in != nil {
		go func() { _, _ = io.Copy(io.Discard, in) }()
	}
	if s.r.opts.Exec == nil {
		return nil
	}
	text, code, err := s.r.opts.Exec(config, cmd)
	if err != nil {
		return err
	}
	if out != nil {
		if _, err := out.Write(text); err != nil {
			return fmt.Errorf("write output of exec: %w", err)
		}
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: int(code)}
	}
	return nil
}

// Attach sends input back: the process of a fake container is a cat.
func (s streams) Attach(_ context.Context, id string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	if _, err := s.r.running(id); err != nil {
		return err
	}
	if in == nil || out == nil {
		return nil
	}
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return nil
}

// PortForward sends back what comes, from every port.
func (s streams) PortForward(_ context.Context, sandbox string, _ int32, stream io.ReadWriteCloser) error {
	s.r.mu.Lock()
	known := s.r.sandboxes[sandbox] != nil
	s.r.mu.Unlock()
	if !known {
		return notFound("sandbox", sandbox)
	}
	if _, err := io.Copy(stream, stream); err != nil {
		return fmt.Errorf("forward port: %w", err)
	}
	return nil
}
