package apiserver

import (
	"net/url"
	"strings"
	"testing"
)

func TestLogOptions(t *testing.T) {
	for query, want := range map[string]string{
		"tailLines=0&limitBytes=1&sinceSeconds=1&follow=true&stream=Stdout": "",
		"sinceTime=2020-01-01T00:00:00Z":                                    "",
		"sinceTime=2020-01-01T00:00:00.123456789%2B02:00":                   "",
		"tailLines=-1":    `PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0`,
		"limitBytes=0":    "limitBytes: Invalid value: 0: must be greater than 0",
		"sinceSeconds=0":  "sinceSeconds: Invalid value: 0: must be greater than 0",
		"tailLines=abc":   `strconv.ParseInt: parsing "abc": invalid syntax`,
		"sinceTime=today": `parsing time "today"`,
		"sinceSeconds=5&sinceTime=2020-01-01T00:00:00Z": "at most one of `sinceTime` or `sinceSeconds` may be specified",
		"stream=Foo": `stream: Unsupported value: "Foo": supported values: "All", "Stderr", "Stdout"`,
	} {
		in, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		out, err := logOptions(in, "p")
		switch {
		case want == "" && (err != nil || out.Encode() != in.Encode()):
			t.Errorf("%s: %v %v", query, out, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}
