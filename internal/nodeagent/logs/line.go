package logs

import (
	"bytes"
	"errors"
	"time"
)

// Line is one record of a log file: TIME STREAM TAGS MESSAGE. Its bytes belong to the reader's buffer.
type Line struct {
	Time    time.Time
	Stamp   []byte // Time as it was written
	Stderr  bool
	Partial bool // no end of line follows the message
	Message []byte
}

var errLine = errors.New("read log: not a record of a container log")

// Parse reads one record without its newline. Source: CRI's log format, KEP-1463 before that.
func Parse(b []byte) (l Line, err error) {
	stamp, rest, ok := bytes.Cut(b, []byte{' '})
	if !ok {
		return l, errLine
	}
	if l.Time, err = time.Parse(time.RFC3339Nano, string(stamp)); err != nil {
		return l, errLine
	}
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return l, errLine
	}
	switch string(stream) {
	case "stdout":
	case "stderr":
		l.Stderr = true
	default:
		return l, errLine
	}
	tags, message, _ := bytes.Cut(rest, []byte{' '})
	first, _, _ := bytes.Cut(tags, []byte{':'})
	switch string(first) {
	case "F":
	case "P":
		l.Partial = true
	default:
		return l, errLine
	}
	l.Stamp, l.Message = stamp, message
	return l, nil
}
