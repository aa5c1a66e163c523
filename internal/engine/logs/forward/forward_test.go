package forward

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nau/internal/engine/logs"
)

var moment = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func TestSyslogMessages(t *testing.T) {
	time.Local = time.UTC
	e := logs.Entry{Time: moment, Text: []byte("hello\n")}
	for _, tt := range []struct {
		network, format string
		stderr          bool
		want            string
	}{
		{"", "", false, "<30>Jan  2 03:04:05 tag[9]: hello\n"},
		{"unixgram", "", false, "<30>Jan  2 03:04:05 tag[9]: hello"},
		{"unix", "", true, "<27>Jan  2 03:04:05 tag[9]: hello\n"},
		{"udp", "", false, "<30>2026-01-02T03:04:05Z host tag[9]: hello"},
		{"tcp", "rfc3164", false, "<30>Jan  2 03:04:05 host tag[9]: hello\n"},
		{"tcp", "rfc5424", false, "57 <30>1 2026-01-02T03:04:05Z host tag 9 tag - hello"},
		{"udp", "rfc5424micro", true, "<27>1 2026-01-02T03:04:05.678000Z host tag 9 tag - hello"},
	} {
		k := &syslogSink{s: Syslog{Network: tt.network, Format: tt.format, Facility: 3}, m: Meta{Tag: "tag"}, hostname: "host", pid: 9}
		e.Stderr = tt.stderr
		want := tt.want
		if i := strings.Index(want, " <"); i > 0 {
			want = fmt.Sprint(len(want)-i-1) + want[i:]
		}
		if got := string(k.frame(k.message(e))); got != want {
			t.Errorf("%q %q: %q, want %q", tt.network, tt.format, got, want)
		}
	}
}

func TestParseSyslog(t *testing.T) {
	for _, tt := range []struct {
		opts map[string]string
		want string // network, address, facility
		err  string
	}{
		{map[string]string{}, "  3", ""},
		{map[string]string{"syslog-address": "udp://127.0.0.1:1514", "syslog-facility": "local7"}, "udp 127.0.0.1:1514 23", ""},
		{map[string]string{"syslog-address": "tcp://[::1]", "syslog-facility": "16"}, "tcp [::1]:514 16", ""},
		{map[string]string{"syslog-address": "tcp+tls://h:6514"}, "tcp+tls h:6514 3", ""},
		{map[string]string{"syslog-address": "unix:///no/such"}, "", "there is no socket"},
		{map[string]string{"syslog-address": "http://x"}, "", "unsupported scheme"},
		{map[string]string{"syslog-address": "x"}, "", "want PROTOCOL://ADDRESS"},
		{map[string]string{"syslog-facility": "nonsense"}, "", "invalid syslog facility"},
		{map[string]string{"syslog-facility": "-"}, "", "invalid syslog facility"},
		{map[string]string{"syslog-format": "rfc1"}, "", "Invalid syslog format"},
		{map[string]string{"syslog-address": "tcp+tls://h:1", "syslog-tls-ca-cert": "/no/such"}, "", "no such file"},
	} {
		s, err := ParseSyslog(tt.opts)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v: %v", tt.opts, err)
			}
			continue
		}
		if got := fmt.Sprint(s.Network, " ", s.Address, " ", s.Facility); err != nil || got != tt.want {
			t.Errorf("%v: %q %v", tt.opts, got, err)
		}
	}
}

// decode reads the native journal protocol. Source: systemd's documentation of it.
func decode(b []byte) map[string]string {
	out := map[string]string{}
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		name, value, plain := strings.Cut(string(line), "=")
		if !plain {
			n := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+n]), rest[8+n+1:]
		}
		out[name], b = value, rest
	}
	return out
}

func TestJournalMessages(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sink, err := OpenJournal(socket, Meta{ID: strings.Repeat("a", 64), Name: "n", Image: "i", Tag: "t", Attrs: map[string]string{"com.x": "1\n2", "9_": "no"}})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if err := sink.Write(logs.Entry{Time: moment, Stderr: true, Text: []byte("part")}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	got := decode(buf[:n])
	for k, v := range map[string]string{"MESSAGE": "part", "PRIORITY": "3", "CONTAINER_ID": "aaaaaaaaaaaa", "CONTAINER_NAME": "n", "CONTAINER_TAG": "t", "IMAGE_NAME": "i",
		"SYSLOG_IDENTIFIER": "t", "CONTAINER_PARTIAL_MESSAGE": "true", "COM_X": "1\n2", "SYSLOG_TIMESTAMP": "2026-01-02T03:04:05.678Z"} {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
	if _, err := OpenJournal(socket+"-none", Meta{}); err == nil || !strings.Contains(err.Error(), "journald is not enabled on this host") {
		t.Error(err)
	}
}

// A receiver that goes away and comes back, and forwarders that end and begin anew, get each line in order.
func TestForwarderGoesOn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintf(f, `{"log":"%s\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}`+"\n", text)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	got := make(chan string, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				sc := bufio.NewScanner(conn)
				for sc.Scan() {
					_, text, _ := strings.Cut(sc.Text(), "]: ")
					got <- text
				}
			}()
		}
	}()
	s := Syslog{Network: "tcp", Address: listener.Addr().String(), Format: "rfc3164"}
	job := Job{Log: path, Cursor: filepath.Join(dir, "cursor"), Warn: slog.New(slog.NewTextHandler(io.Discard, nil)), Open: func() (Sink, error) { return s.Open(Meta{Tag: "t"}) }}
	for i, text := range []string{"one", "two", "three"} {
		write(text)
		ended := make(chan struct{})
		close(ended)
		job.Run(context.Background(), ended)
		if line := <-got; line != text {
			t.Errorf("run %d: %q, want %q", i, line, text)
		}
	}
	// A damaged cursor begins anew rather than losing anything.
	if err := os.WriteFile(job.Cursor, bytes.Repeat([]byte{7}, 24), 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	close(ended)
	job.Run(context.Background(), ended)
	if line := <-got; line != "one" {
		t.Errorf("after the damage: %q", line)
	}
}
