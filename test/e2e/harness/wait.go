package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait for the outside.
const patience = 60 * time.Second

// In is the same machine for a subtest.
func (m *Machine) In(t testing.TB) *Machine {
	c := *m
	c.t = t
	return &c
}

// Apply applies a manifest of the lectures.
func (m *Machine) Apply(name string) string {
	m.t.Helper()
	return m.Kubectl("apply", "-f", m.Example(name))
}

// Until repeats a command until its output contains want: for what the outside
// brings about in its own time.
func (m *Machine) Until(want string, name string, args ...string) string {
	m.t.Helper()
	var r Result
	if !poll(func() bool {
		r = m.Do("", name, args...)
		return strings.Contains(r.Stdout+r.Stderr, want)
	}) {
		m.t.Fatalf("%s %s: no %q in %v; the last output:\n%s%s", name, strings.Join(args, " "), want, patience, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func poll(done func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if done() {
			return true
		}
		select {
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
}

// Answers asks a URL inside the machine until it answers 200 with want in its
// body.
func (m *Machine) Answers(url, want string) {
	m.t.Helper()
	client := m.HTTP()
	var last string
	if !poll(func() bool {
		response, err := client.Get(url)
		if err != nil {
			last = err.Error()
			return false
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		last = fmt.Sprintf("%s: %s", response.Status, body)
		return response.StatusCode == http.StatusOK && strings.Contains(string(body), want)
	}) {
		m.t.Fatalf("%s: no 200 with %q in %v; the last answer: %s", url, want, patience, last)
	}
}

// HTTP is a client inside the machine.
func (m *Machine) HTTP() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       m.Dial,
	}}
}

// Dial connects inside the machine.
func (m *Machine) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = m.inside(func() error {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Pid is the running nau's.
func (m *Machine) Pid() int {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.RunDir, "nau.pid"))
	if err != nil {
		m.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		m.t.Fatal(err)
	}
	return pid
}

// ResetPeak begins to take note of the peak of nau's resident memory anew.
func (m *Machine) ResetPeak() {
	m.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", m.Pid()), []byte("5"), 0); err != nil {
		m.t.Fatalf("reset the peak of nau's memory: %v", err)
	}
}

// Peak is the most memory, in bytes, that nau has had resident since ResetPeak.
func (m *Machine) Peak() int64 {
	m.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.Pid()))
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				m.t.Fatal(err)
			}
			return kib << 10
		}
	}
	m.t.Fatalf("no peak of memory in the status of process %d", m.Pid())
	return 0
}

// Occupy takes a TCP port inside until the function that it returns is called.
func (m *Machine) Occupy(port int) (release func()) {
	m.t.Helper()
	listener := m.Listen("tcp", ":"+strconv.Itoa(port))
	return func() { listener.Close() }
}

// Listening gives the TCP ports of the node's network that something listens on
// beyond loopback.
func (m *Machine) Listening() (ports []int) {
	m.t.Helper()
	for _, table := range []string{"tcp", "tcp6"} {
		if err := m.inside(func() error {
			data, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(data)) {
				fields := strings.Fields(line)
				if len(fields) < 4 || fields[3] != "0A" { // TCP_LISTEN
					continue
				}
				address, port, _ := strings.Cut(fields[1], ":")
				number, err := strconv.ParseInt(port, 16, 32)
				if err == nil && address != "0100007F" {
					ports = append(ports, int(number))
				}
			}
			return nil
		}); err != nil {
			m.t.Fatal(err)
		}
	}
	return ports
}

// Kill kills nau as a crash would, and waits until it is gone.
func (m *Machine) Kill() {
	m.t.Helper()
	fd, err := unix.PidfdOpen(m.Pid(), 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		m.t.Fatal(err)
	}
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
}
