package docker

import (
	"strings"
	"testing"
	"time"
)

func TestMoments(t *testing.T) {
	local := func(year, month, day, hour, minute, second, nano int) time.Time {
		return time.Date(year, time.Month(month), day, hour, minute, second, nano, time.Local)
	}
	east := time.FixedZone("", 2*3600)
	for text, want := range map[string]time.Time{
		"1700000000":                     time.Unix(1700000000, 0),
		"1700000000.000000005":           time.Unix(1700000000, 5),
		"1700000000.1234567891":          time.Unix(1700000000, 123456789),
		"2020-01-02":                     local(2020, 1, 2, 0, 0, 0, 0),
		"2020-01-02Z":                    time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC),
		"2020-01-02+02:00":               time.Date(2020, 1, 2, 0, 0, 0, 0, east),
		"2020-01-02T03:04":               local(2020, 1, 2, 3, 4, 0, 0),
		"2020-01-02T03:04:05":            local(2020, 1, 2, 3, 4, 5, 0),
		"2020-01-02T03:04:05.000000006":  local(2020, 1, 2, 3, 4, 5, 6),
		"2020-01-02T03:04:05.5Z":         time.Date(2020, 1, 2, 3, 4, 5, 5e8, time.UTC),
		"2020-01-02T03:04+02:00":         time.Date(2020, 1, 2, 3, 4, 0, 0, east),
		"2020-01-02T03:04:05.5-02:00":    time.Date(2020, 1, 2, 3, 4, 5, 5e8, time.FixedZone("", -2*3600)),
		"2020-01-02T03:04:05.123456789Z": time.Date(2020, 1, 2, 3, 4, 5, 123456789, time.UTC),
	} {
		if got, err := parseMoment(text); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	before := time.Now().Add(-90 * time.Minute)
	if got, err := parseMoment("1h30m"); err != nil || got.Before(before) || got.After(time.Now()) {
		t.Errorf("1h30m ago: %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"bogus":      `failed to parse value as time or duration: invalid seconds "bogus": invalid syntax`,
		"1.5x":       `failed to parse value as time or duration: invalid nanoseconds: invalid character 'x' at position 1`,
		"":           `failed to parse value as time or duration: invalid seconds "": invalid syntax`,
		"2020-13-01": `parsing time "2020-13-01": month out of range`,
	} {
		if _, err := parseMoment(text); err == nil || err.Error() != want || statusOf(err) != 400 {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := parseTime("bogus"); err == nil || err.Error() != `invalid timestamp "bogus": invalid seconds "bogus": invalid syntax` {
		t.Errorf("since bogus: %v", err)
	}
}

// TestBooleanFilters: what a client adds of its own accord stands beside what a person wrote.
func TestBooleanFilters(t *testing.T) {
	for values, want := range map[string]string{"": "true", "true": "true", "0": "false", "False": "false", "foo true": "true", "foo": "error", "true false": "error", "1 0": "error"} {
		got, err := filters{"dangling": strings.Fields(values)}.boolean("dangling", true)
		text := map[bool]string{true: "true", false: "false"}[got]
		if err != nil {
			text = "error"
		}
		if text != want {
			t.Errorf("%q: %s, want %s (%v)", values, text, want, err)
		}
	}
}
