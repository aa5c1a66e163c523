package forward

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"nau/internal/engine/logs"
)

// Syslog says where and how. The zero value is the machine's own log, facility daemon.
type Syslog struct {
	Network  string // "", "udp", "tcp", "tcp+tls", "unix" or "unixgram"
	Address  string // host:port or path
	Facility int
	Format   string // "", "rfc3164", "rfc5424" or "rfc5424micro"
	TLS      *tls.Config
}

// facilities by name. Source: RFC 5424, section 6.2.1.
var facilities = strings.Fields("kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - local0 local1 local2 local3 local4 local5 local6 local7")

// Severities of the two streams. Source: Docker's documentation of its syslog driver.
const severityErr, severityInfo = 3, 6

// ParseSyslog reads the options of Docker's syslog driver. Source: Docker's documentation, "Syslog logging driver".
func ParseSyslog(opts map[string]string) (Syslog, error) {
	s := Syslog{Facility: 3, Format: opts["syslog-format"]}
	switch s.Format {
	case "", "rfc3164", "rfc5424", "rfc5424micro":
	default:
		return s, errors.New("Invalid syslog format")
	}
	if f := opts["syslog-facility"]; f != "" {
		s.Facility = -1
		for i, name := range facilities {
			if name == strings.ToLower(f) && name != "-" {
				s.Facility = i
			}
		}
		if n, err := strconv.Atoi(f); err == nil && n >= 0 && n <= 23 {
			s.Facility = n
		}
		if s.Facility < 0 {
			return s, fmt.Errorf("invalid syslog facility: %q", f)
		}
	}
	if a := opts["syslog-address"]; a != "" {
		u, err := url.Parse(a)
		if err != nil || u.Scheme == "" {
			return s, fmt.Errorf("invalid syslog-address %q: want PROTOCOL://ADDRESS", a)
		}
		s.Network = u.Scheme
		switch s.Network {
		case "unix", "unixgram":
			s.Address = u.Path
			if st, err := os.Stat(u.Path); err != nil || st.Mode()&os.ModeSocket == 0 {
				return s, fmt.Errorf("invalid syslog-address %q: there is no socket at %s", a, u.Path)
			}
		case "udp", "tcp", "tcp+tls":
			s.Address = u.Host
			if _, _, err := net.SplitHostPort(u.Host); err != nil {
				s.Address = net.JoinHostPort(strings.Trim(u.Host, "[]"), "514")
			}
		default:
			return s, fmt.Errorf("unsupported scheme: %s", s.Network)
		}
	}
	if s.Network != "tcp+tls" {
		return s, nil
	}
	host, _, _ := net.SplitHostPort(s.Address)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if _, skip := opts["syslog-tls-skip-verify"]; skip {
		s.TLS.InsecureSkipVerify = opts["syslog-tls-skip-verify"] != "false" //nolint:gosec // the user asks for it by name
	}
	if ca := opts["syslog-tls-ca-cert"]; ca != "" {
		b, err := os.ReadFile(ca)
		if err != nil {
			return s, fmt.Errorf("read syslog-tls-ca-cert: %w", err)
		}
		s.TLS.RootCAs = x509.NewCertPool()
		if !s.TLS.RootCAs.AppendCertsFromPEM(b) {
			return s, fmt.Errorf("read syslog-tls-ca-cert: %s holds no certificate", ca)
		}
	}
	if cert, key := opts["syslog-tls-cert"], opts["syslog-tls-key"]; cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return s, fmt.Errorf("read syslog-tls-cert and syslog-tls-key: %w", err)
		}
		s.TLS.Certificates = []tls.Certificate{pair}
	}
	return s, nil
}

// patience is how long a connection may take.
const patience = 10 * time.Second

// local are the places of the machine's own syslog. Source: syslog(3) and its implementations.
var local = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}

// Open connects.
func (s Syslog) Open(m Meta) (Sink, error) {
	hostname, _ := os.Hostname()
	out := &syslogSink{s: s, m: m, hostname: hostname, pid: os.Getpid()}
	dial := net.Dialer{Timeout: patience}
	var err error
	switch s.Network {
	case "tcp+tls":
		out.conn, err = tls.DialWithDialer(&dial, "tcp", s.Address, s.TLS)
	case "":
		err = errors.New("Unix syslog delivery error")
		for _, path := range local {
			for _, network := range []string{"unixgram", "unix"} {
				if c, derr := dial.Dial(network, path); derr == nil && out.conn == nil {
					out.conn, err = c, nil
				} else if derr == nil {
					c.Close()
				}
			}
		}
	default:
		out.conn, err = dial.Dial(s.Network, s.Address)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to syslog: %w", err)
	}
	return out, nil
}

type syslogSink struct {
	s        Syslog
	m        Meta
	conn     net.Conn
	hostname string
	pid      int
}

func (k *syslogSink) Close() error { return k.conn.Close() }

func (k *syslogSink) Write(e logs.Entry) error {
	_ = k.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := k.conn.Write(k.frame(k.message(e))); err != nil {
		return fmt.Errorf("send to syslog: %w", err)
	}
	return nil
}

// message words one record. Sources: RFC 3164 section 4.1, RFC 5424 section 6; without a format a local log gets the form of syslog(3), a
// remote one the same with the whole time and the host's name.
func (k *syslogSink) message(e logs.Entry) []byte {
	severity := severityInfo
	if e.Stderr {
		severity = severityErr
	}
	pri, text, at := k.s.Facility<<3|severity, bytes.TrimSuffix(e.Text, []byte("\n")), e.Time
	tag := strings.ReplaceAll(k.m.Tag, " ", "_")
	var head string
	switch {
	case k.s.Format == "rfc5424":
		head = fmt.Sprintf("<%d>1 %s %s %s %d %s - ", pri, at.UTC().Format("2006-01-02T15:04:05Z07:00"), k.hostname, tag, k.pid, tag)
	case k.s.Format == "rfc5424micro":
		head = fmt.Sprintf("<%d>1 %s %s %s %d %s - ", pri, at.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), k.hostname, tag, k.pid, tag)
	case k.s.Format == "rfc3164":
		head = fmt.Sprintf("<%d>%s %s %s[%d]: ", pri, at.Local().Format(time.Stamp), k.hostname, tag, k.pid)
	case k.s.Network == "" || k.s.Network == "unix" || k.s.Network == "unixgram":
		head = fmt.Sprintf("<%d>%s %s[%d]: ", pri, at.Local().Format(time.Stamp), tag, k.pid)
	default:
		head = fmt.Sprintf("<%d>%s %s %s[%d]: ", pri, at.Local().Format(time.RFC3339), k.hostname, tag, k.pid)
	}
	return append([]byte(head), text...)
}

// frame tells a stream's messages apart: by their length for RFC 5424 (RFC 6587 section 3.4.1), else by a line's end. A datagram needs none.
func (k *syslogSink) frame(b []byte) []byte {
	switch {
	case k.s.Network == "udp" || k.s.Network == "unixgram":
		return b
	case strings.HasPrefix(k.s.Format, "rfc5424") && (k.s.Network == "tcp" || k.s.Network == "tcp+tls"):
		return append([]byte(strconv.Itoa(len(b))+" "), b...)
	}
	return append(b, '\n')
}
