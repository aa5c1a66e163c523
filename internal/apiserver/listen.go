package apiserver

import (
	"net/http"
	"time"
)

// Tune sets the limits and buffers of an http.Server that serves this API: many streams a connection (watches), frames large
// enough for lists, and bounds on what a stranger can hold open.
func Tune(srv *http.Server) {
	srv.ReadHeaderTimeout = 32 * time.Second
	srv.IdleTimeout = 3 * time.Minute
	srv.MaxHeaderBytes = 1 << 20
	srv.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          1000,
		MaxReceiveBufferPerConnection: 4 << 20,
		MaxReceiveBufferPerStream:     1 << 20,
		SendPingTimeout:               30 * time.Second,
		PingTimeout:                   15 * time.Second,
	}
}
