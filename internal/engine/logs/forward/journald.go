package forward

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"nau/internal/engine/logs"
)

// JournalSocket is where journald listens. Source: systemd's documentation, "Native Journal Protocol".
const JournalSocket = "/run/systemd/journal/socket"

// OpenJournal connects to journald at a socket.
func OpenJournal(socket string, m Meta) (Sink, error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("journald is not enabled on this host: %w", err)
	}
	return &journalSink{conn, m}, nil
}

type journalSink struct {
	conn *net.UnixConn
	m    Meta
}

func (k *journalSink) Close() error { return k.conn.Close() }

func (k *journalSink) Write(e logs.Entry) error {
	_ = k.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := k.conn.Write(k.message(e)); err != nil {
		return fmt.Errorf("send to journald: %w", err)
	}
	return nil
}

// message is one record in the native protocol, with the fields that Docker's journald driver documents.
func (k *journalSink) message(e logs.Entry) []byte {
	priority := "6"
	if e.Stderr {
		priority = "3"
	}
	var b bytes.Buffer
	put := func(name, value string) {
		if !strings.Contains(value, "\n") {
			b.WriteString(name + "=" + value + "\n")
			return
		}
		b.WriteString(name + "\n")
		_ = binary.Write(&b, binary.LittleEndian, uint64(len(value)))
		b.WriteString(value + "\n")
	}
	text, whole := bytes.CutSuffix(e.Text, []byte("\n"))
	put("MESSAGE", string(text))
	put("PRIORITY", priority)
	put("CONTAINER_ID", k.m.ID[:12])
	put("CONTAINER_ID_FULL", k.m.ID)
	put("CONTAINER_NAME", k.m.Name)
	put("CONTAINER_TAG", k.m.Tag)
	put("SYSLOG_IDENTIFIER", k.m.Tag)
	put("IMAGE_NAME", k.m.Image)
	put("SYSLOG_TIMESTAMP", e.Time.UTC().Format(time.RFC3339Nano))
	if !whole {
		put("CONTAINER_PARTIAL_MESSAGE", "true")
	}
	for _, name := range slices.Sorted(maps.Keys(k.m.Attrs)) {
		if field := fieldName(name); field != "" {
			put(field, k.m.Attrs[name])
		}
	}
	return b.Bytes()
}

// fieldName makes a field's name: capital letters, digits and underscores, not beginning with an underscore or digit, at most 64.
func fieldName(s string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s)
	name = strings.TrimLeft(name, "_0123456789")
	return name[:min(len(name), 64)]
}
