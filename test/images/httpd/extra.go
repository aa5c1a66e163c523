package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthCheck is the path of gRPC's health service (grpc/health/v1/health.proto).
const healthCheck = "/grpc.health.v1.Health/Check"

// healthy answers SERVING: a length-prefixed HealthCheckResponse{status: 1}.
func healthy(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write([]byte{0, 0, 0, 0, 2, 0x08, 0x01})
	w.Header().Set("Grpc-Status", "0")
}

// answerUDP answers every packet with text.
func answerUDP(address, text string) error {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 1500)
		for {
			_, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo([]byte(text), from)
		}
	}()
	return nil
}

// askUDP sends the body to udp://HOST:PORT and prints the answer: curl of the test images can do that.
func askUDP(o fetchOptions) error {
	conn, err := net.Dial("udp", strings.TrimPrefix(o.url, "udp://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(o.timeout))
	if _, err := conn.Write([]byte(o.body + "\n")); err != nil {
		return err
	}
	buffer := make([]byte, 1500)
	n, err := conn.Read(buffer)
	if err != nil {
		return err
	}
	fmt.Print(string(buffer[:n]))
	return nil
}
