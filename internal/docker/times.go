package docker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Moments, as clients write them: of what is asked for from and until then, and in filters, where a day may be named as well.

// parseTime reads a moment: seconds since 1970 with a fraction, RFC 3339, or a duration back from now.
func parseTime(text string) (time.Time, error) {
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d), nil
	}
	t, err := seconds(text)
	if err != nil {
		return t, badRequest("invalid timestamp %q: %v", text, err)
	}
	return t, nil
}

// seconds reads those since 1970, with up to nine digits of a fraction.
func seconds(text string) (time.Time, error) {
	whole, part, _ := strings.Cut(text, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid seconds %q: %w", whole, errors.Unwrap(err))
	}
	for i, c := range part {
		if c < '0' || c > '9' {
			return time.Time{}, fmt.Errorf("invalid nanoseconds: invalid character %q at position %d", c, i)
		}
	}
	nano, _ := strconv.ParseInt((part + "000000000")[:9], 10, 64)
	return time.Unix(sec, nano), nil
}

// parseMoment reads the moment of a filter: a duration back from now, a day or a time of one (this machine's, where no zone is given), or seconds
// since 1970.
func parseMoment(text string) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d), nil
	}
	if strings.Contains(text, "-") {
		t, err := time.ParseInLocation(layoutOf(text), text, time.Local)
		if err != nil {
			return t, badRequest("%v", err)
		}
		return t, nil
	}
	t, err := seconds(text)
	if err != nil {
		return t, badRequest("failed to parse value as time or duration: %v", err)
	}
	return t, nil
}

// layoutOf is how a day, or a time of one, is written: to the minute, second or part of it, with a zone or without.
func layoutOf(text string) string {
	day, clock, timed := strings.Cut(text, "T")
	zoned := strings.HasSuffix(text, "Z") || strings.Contains(clock, "+") || strings.Contains(clock, "-") || !timed && (strings.Contains(day, "+") || strings.Count(day, "-") == 3)
	layout := time.DateOnly
	if timed {
		layout += "T15:04"
		time, _, _ := strings.Cut(strings.TrimSuffix(clock, "Z"), "+")
		time, _, _ = strings.Cut(time, "-")
		if strings.Count(time, ":") > 1 {
			layout += ":05.999999999"
		}
	}
	if zoned {
		layout += "Z07:00"
	}
	return layout
}
