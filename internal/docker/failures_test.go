package docker

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestStartAndExecErrors(t *testing.T) {
	const create = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
	const began = "unable to start container process: error during container init: "
	for _, c := range []struct {
		err, start string
		code       int
		exec       string
		execCode   int
	}{
		{`start container x: exec: "nosuch": executable file not found in $PATH: no such file or directory`,
			create + began + `exec: "nosuch": executable file not found in $PATH`, 127,
			`OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH`, 127},
		{`exec: "/etc": is a directory`, create + began + `exec: "/etc": is a directory: permission denied`, 126,
			`OCI runtime exec failed: exec failed: unable to start container process: exec: "/etc": is a directory: permission denied`, 126},
		{`exec: "/a": permission denied`, create + began + `exec: "/a": permission denied`, 126,
			`OCI runtime exec failed: exec failed: unable to start container process: exec: "/a": permission denied`, 126},
		{`exec: "/a b": no such file or directory`, create + began + `exec: "/a b": stat /a b: no such file or directory`, 127,
			`OCI runtime exec failed: exec failed: unable to start container process: exec: "/a b": stat /a b: no such file or directory`, 127},
		{`find user "u" in the image: unable to find user u: no matching entries in passwd file`, "unable to find user u: no matching entries in passwd file", 128,
			"unable to find user u: no matching entries in passwd file", 126},
		{`find groups [g] in the image: unable to find group g: no matching entries in group file`, "unable to find group g: no matching entries in group file", 128,
			"unable to find group g: no matching entries in group file", 126},
		{`exec in container y: change to working directory /no: no such file or directory`, create + "exec in container y: change to working directory /no: no such file or directory", 128,
			`OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd ("/no") set in config.json failed: no such file or directory`, 127},
		{"mount: no space", "failed to create task for container: mount: no space", 128, "OCI runtime exec failed: exec failed: mount: no space", 127},
	} {
		if told, code := startError(errors.New(c.err)); told.Error() != c.start || code != c.code {
			t.Errorf("start of %q:\n%d %s, want\n%d %s", c.err, code, told, c.code, c.start)
		}
		if told, code := execError(errors.New(c.err)); told.Error() != c.exec || code != c.execCode {
			t.Errorf("exec of %q:\n%d %s, want\n%d %s", c.err, code, told, c.execCode, c.exec)
		}
	}
	if told, code := startError(conflict("taken")); told.Error() != "taken" || code != 128 || statusOf(told) != 409 {
		t.Errorf("a worded error became %d %s", code, told)
	}
}

func TestListedFilters(t *testing.T) {
	for _, c := range []struct {
		f    filters
		want string
	}{
		{filters{"status": {"running", "exited"}, "health": {"none"}, "exited": {"0", "137"}, "publish": {"80", "80-90/udp"}, "is-task": {"false"}}, ""},
		{filters{"status": {"foo"}}, "invalid filter 'status=foo': invalid value for state (foo): must be one of created, running, paused, restarting, removing, exited, dead"},
		{filters{"health": {"x"}}, "invalid filter 'health=x': invalid value for health (x): must be one of none, starting, healthy, unhealthy"},
		{filters{"exited": {"x"}}, `invalid filter 'exited=x': strconv.Atoi: parsing "x": invalid syntax`},
		{filters{"publish": {"x"}}, "error while looking up for publish x: invalid start port 'x': invalid syntax"},
		{filters{"is-task": {"x"}}, "invalid filter 'is-task=[x]'"},
	} {
		got := ""
		if err := checkListed(c.f); err != nil {
			got = err.Error()
			if statusOf(err) != 400 {
				t.Errorf("%v: status %d", c.f, statusOf(err))
			}
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.f, got, c.want)
		}
	}
}

// A request's document is judged before anything else is asked.
func TestReadDocument(t *testing.T) {
	for _, c := range []struct{ kind, body, want string }{
		{"application/json", `{"a":1}`, ""}, {"application/json; charset=utf-8", ` {} `, ""}, {"", "", ""}, {"application/json", "", ""},
		{"text/plain", `{}`, "unsupported Content-Type header (text/plain): must be 'application/json'"},
		{"", `{}`, "unsupported Content-Type header (): must be 'application/json'"},
		{"application/json", `{i`, "invalid JSON: invalid character 'i' looking for beginning of object key string"},
		{"application/json", `{}[]`, "unexpected content after JSON"}, {"application/json", `{} x`, "unexpected content after JSON"},
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		got := ""
		if err := readDocument(r); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %q: %q, want %q", c.kind, c.body, got, c.want)
		}
		if b, _ := io.ReadAll(r.Body); c.want == "" && string(b) != c.body {
			t.Errorf("%q is read again as %q", c.body, b)
		}
	}
}

func TestTerminalSides(t *testing.T) {
	for text, want := range map[string]string{"40": "", "4294967295": "", "": `invalid resize height "": invalid syntax`, "x": `invalid resize height "x": invalid syntax`,
		"-1": `invalid resize height "-1": value out of range`, "4294967296": `invalid resize height "4294967296": value out of range`} {
		got := ""
		if _, err := side("height", text); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
