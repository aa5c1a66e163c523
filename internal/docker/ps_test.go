package docker

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"
)

func TestPsColumns(t *testing.T) {
	for args, want := range map[string]string{
		"":                    "UID PID PPID C STIME TTY TIME CMD",
		"-ef":                 "UID PID PPID C STIME TTY TIME CMD",
		"aux":                 "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
		"-o pid,comm":         "PID COMMAND",
		"-eo pid -o user=WHO": "PID WHO",
		"-opid,rss":           "PID RSS",
		"-o comm":             "!Couldn't find PID field in ps output",
		"-o pid,x":            "!unknown user-defined format specifier",
		"-C x":                "!is not known here",
		"-o":                  "!needs a list",
		"aux --sort=comm":     "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
		"-ef k -pid":          "UID PID PPID C STIME TTY TIME CMD",
		"aux --sort=x":        "!unknown sort specifier",
		"aux --sort":          "!to sort by",
	} {
		cols, _, err := psColumns(args)
		if text, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%q: %v", args, err)
			}
			continue
		}
		var titles []string
		for _, c := range cols {
			titles = append(titles, c.title)
		}
		if got := strings.Join(titles, " "); err != nil || got != want {
			t.Errorf("%q: %q %v", args, got, err)
		}
	}
	for order, want := range map[string]string{"comm": "sh top top", "-comm,-pid": "top10 top9 sh8", "pid": "sh8 top9 top10", "user,+comm": "top10 sh8 top9"} {
		all := []proc{{pid: 9, comm: "top", user: "root"}, {pid: 10, comm: "top", user: "bin"}, {pid: 8, comm: "sh", user: "root"}}
		_, by, err := psColumns("-ef --sort " + order)
		arrange(all, by)
		got := make([]string, len(all))
		for i, p := range all {
			if got[i] = p.comm; order != "comm" {
				got[i] += strconv.Itoa(p.pid)
			}
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("by %s: %s %v, want %s", order, got, err, want)
		}
	}
	p, ok := readProcess(os.Getpid(), time.Now())
	if !ok || p.ppid != os.Getppid() || p.uid != os.Getuid() || p.rss == 0 || !strings.Contains(p.command, "docker.test") {
		t.Errorf("%+v", p)
	}
}

func TestLegacyRequest(t *testing.T) {
	for _, tt := range []struct {
		body, version string
		mode          dc.NetworkMode
		mac, err      string
		warnings      int
	}{
		{`{"MacAddress":"02:42:ac:11:00:09"}`, "1.40", "", "02:42:ac:11:00:09", "", 0},
		{`{"MacAddress":"02:42:ac:11:00:09"}`, "1.52", "", "", "", 0},
		{`{"MacAddress":"x"}`, "1.40", "", "", "invalid MAC address", 0},
		{`{"MacAddress":"02:42:ac:11:00:09"}`, "1.40", "host", "", "conflicting options: mac-address and the network mode", 0},
		{`{"HostConfig":{"KernelMemory":5}}`, "1.40", "", "", "", 1},
		{``, "1.40", "", "", "", 0},
	} {
		req := &dc.CreateRequest{HostConfig: &dc.HostConfig{NetworkMode: tt.mode}}
		w, err := legacyRequest([]byte(tt.body), tt.version, req)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%+v: %v", tt, err)
			}
			continue
		}
		got := ""
		if n := req.NetworkingConfig; n != nil {
			got = n.EndpointsConfig[dn.NetworkBridge].MacAddress.String()
		}
		if err != nil || got != tt.mac || len(w) != tt.warnings {
			t.Errorf("%+v: %q %q %v", tt, got, w, err)
		}
	}
}

func TestEventForm(t *testing.T) {
	for accept, want := range map[string]string{"": "application/json", "text/html, application/json-seq;q=1": "application/json-seq\x1e", "application/x-ndjson": "application/x-ndjson", "application/jsonl": "application/jsonl"} {
		if kind, head := eventForm([]string{accept}, true); kind+head != want {
			t.Errorf("%q: %q %q", accept, kind, head)
		}
	}
	if kind, head := eventForm([]string{"application/json-seq"}, false); kind+head != "application/json" {
		t.Errorf("%q %q", kind, head)
	}
}

func TestAllHold(t *testing.T) {
	have := map[string]string{"a": "1", "b": ""}
	for cond, want := range map[string]bool{"a": true, "a=1": true, "a=2": false, "b=": true, "c": false} {
		if got := (filters{"annotation": {cond}}).all("annotation", have); got != want {
			t.Errorf("%q: %v", cond, got)
		}
	}
	if (filters{"annotation": {"a", "c"}}).all("annotation", have) {
		t.Error("one of two is enough")
	}
}
