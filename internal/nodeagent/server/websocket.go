package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"
)

// Package remotecommand serves the WebSocket protocols up to v4.channel.k8s.io. Clients of today ask for v5, which is v4 with
// an end of stdin that leaves the other streams open; package wsstream knows that end. Source: KEP-4006.

// protocolV5 is a WebSocket subprotocol.
const protocolV5 = remotecommand.StreamProtocolV5Name

// The channels of a WebSocket by their numbers.
const (
	channelStdin = iota
	channelStdout
	channelStderr
	channelError
	channelResize
)

// asksV5 tells whether the request is for a WebSocket of that protocol.
func asksV5(r *http.Request) bool {
	if !wsstream.IsWebSocketRequest(r) {
		return false
	}
	for _, header := range r.Header.Values(wsstream.WebSocketProtocolHeader) {
		if slices.ContainsFunc(strings.Split(header, ","), func(p string) bool { return strings.TrimSpace(p) == protocolV5 }) {
			return true
		}
	}
	return false
}

// command runs in a container with the streams that it is given; those that nobody asked for are nil.
type command func(ctx context.Context, in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error

// serveV5 joins a command with the client's streams, and tells the client how it ended.
func (h *handler) serveV5(w http.ResponseWriter, r *http.Request, opts *remotecommand.Options, run command) {
	kind := func(asked bool, t wsstream.ChannelType) wsstream.ChannelType {
		if asked {
			return t
		}
		return wsstream.IgnoreChannel
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{protocolV5: {Binary: true, Channels: []wsstream.ChannelType{
		channelStdin:  kind(opts.Stdin, wsstream.ReadChannel),
		channelStdout: kind(opts.Stdout, wsstream.WriteChannel),
		channelStderr: kind(opts.Stderr, wsstream.WriteChannel),
		channelError:  wsstream.WriteChannel,
		channelResize: wsstream.ReadChannel,
	}}})
	conn.SetIdleTimeout(streamIdle)
	// The end of a connection is no error worth a line, whoever closes it.
	_, streams, err := conn.Open(lingering{w}, r.WithContext(klog.NewContext(r.Context(), klog.New(nil))))
	if err != nil {
		h.Log.Warn("open WebSocket", "path", r.URL.Path, "err", err)
		return
	}
	defer conn.Close()
	var in io.Reader
	var out, errs io.WriteCloser
	if opts.Stdin {
		in = streams[channelStdin]
	}
	if opts.Stdout {
		out = streams[channelStdout]
	}
	if opts.Stderr {
		errs = streams[channelStderr]
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	resize := make(chan remotecommand.TerminalSize)
	go func() {
		defer close(resize)
		for d := json.NewDecoder(streams[channelResize]); ; {
			var size remotecommand.TerminalSize
			if d.Decode(&size) != nil {
				return
			}
			select {
			case resize <- size:
			case <-ctx.Done():
				return
			}
		}
	}()
	b, err := json.Marshal(outcome(run(ctx, in, out, errs, resize)))
	if err == nil {
		_, err = streams[channelError].Write(b)
	}
	if err != nil {
		h.Log.Debug("tell how a command ended", "path", r.URL.Path, "err", err)
	}
}

// outcome is how clients are told of a command's end.
func outcome(err error) *metav1.Status {
	if err == nil {
		return &metav1.Status{Status: metav1.StatusSuccess}
	}
	if exit, ok := err.(utilexec.ExitError); ok && exit.Exited() {
		return &metav1.Status{Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %v", exit),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exit.ExitStatus())}}}}
	}
	return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
		Message: fmt.Sprintf("Internal error occurred: error executing command in container: %v", err)}
}
