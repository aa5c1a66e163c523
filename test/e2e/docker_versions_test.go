//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nau/test/e2e/harness"
)

// Answers have the form of the version of the API that was asked for. A row says from which version on a field is there, up to which one it
// is, or what it says in one version. Source: the Engine API's version history.
func TestDockerAPIVersions(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	m.Must("docker", "network", "create", "--subnet", "172.31.60.0/24", "net")
	m.Must("docker", "run", "-d", "--name", "one", "--annotation", "a.b=c", "busybox", "sleep", "1000")
	m.Must("docker", "run", "-d", "--name", "two", "--network", "net", "--network-alias", "second", "--mac-address", "02:42:00:00:00:22", "-v", "vol:/v", "busybox", "sleep", "1000")
	m.Must("docker", "create", "--name", "never", "busybox")
	base := strings.TrimSpace(m.Must("docker", "inspect", "-f", "{{.Image}}", "one"))
	m.Must("docker", "commit", "one") // an image without a name
	oldest, newest := 24, 52
	ask := func(t *testing.T, version int, method, path, body string) (code int, doc any) {
		t.Helper()
		args := []string{"-s", "--unix-socket", filepath.Join(m.RunDir, "docker.sock"), "-X", method, "-w", "\n%{http_code}", fmt.Sprintf("http://docker/v1.%d/%s", version, path)}
		if body != "" {
			args = append(args, "-H", "Content-Type: application/json", "-d", body)
		}
		out := m.Must("curl", args...)
		at := strings.LastIndex(out, "\n")
		code, _ = strconv.Atoi(out[at+1:])
		if text := out[:at]; text != "" {
			if err := json.Unmarshal([]byte(text), &doc); err != nil {
				t.Fatalf("%s %s: %v in %q", method, path, err, text)
			}
		}
		return code, doc
	}
	get := func(t *testing.T, version int, path string) any {
		t.Helper()
		code, doc := ask(t, version, "GET", path, "")
		if code != 200 {
			t.Fatalf("GET %s: %d %v", path, code, doc)
		}
		return doc
	}
	for _, row := range []struct {
		path, field string
		from, to    int // versions that have it; 0 is the oldest, or the newest
	}{
		{"images/json", "0.VirtualSize", 0, 43},
		{"images/json", "0.Size", 0, 0},
		{"images/json?shared-size=1", "0.SharedSize", 0, 0},
		{"images/json?manifests=1", "0.Manifests", 47, 0},
		{"images/busybox/json", "VirtualSize", 0, 43},
		{"images/busybox/json", "Container", 0, 44},
		{"images/busybox/json", "ContainerConfig.Cmd", 0, 44},
		{"images/busybox/json", "Config.Hostname", 0, 49},
		{"images/busybox/json", "Config.AttachStdin", 0, 49},
		{"images/busybox/json", "Config.OnBuild", 0, 51},
		{"images/busybox/json", "Config.Volumes", 0, 51},
		{"images/busybox/json", "DockerVersion", 0, 51},
		{"images/busybox/json", "Parent", 0, 51},
		{"images/busybox/json", "Author", 0, 51},
		{"images/busybox/json", "Descriptor", 48, 0},
		{"containers/json?all=1", "0.HostConfig.NetworkMode", 0, 0},
		{`containers/json?filters={"name":["one"]}`, "0.HostConfig.Annotations", 46, 0},
		{"containers/json", "0.Health", 52, 0},
		{"containers/one/json", "NetworkSettings.IPAddress", 0, 51},
		{"containers/one/json", "NetworkSettings.MacAddress", 0, 51},
		{"containers/one/json", "NetworkSettings.SecondaryIPAddresses", 0, 51},
		{"containers/one/json", "NetworkSettings.Bridge", 0, 51},
		{"containers/one/json", "Config.OnBuild", 0, 51},
		{"containers/one/json", "Config.MacAddress", 99, 0},
		{"containers/two/json", "Config.MacAddress", 0, 51},
		{"containers/two/json", "NetworkSettings.Networks.net.DNSNames", 44, 0},
		{"containers/one/json", "HostConfig.KernelMemory", 0, 41},
		{"info", "KernelMemory", 0, 41},
		{"info", "BridgeNfIptables", 0, 49},
		{"info", "ContainerdCommit.Expected", 0, 48},
		{"info", "Runtimes.nau-oci.path", 0, 0},
		{"info", "ExecutionDriver", 0, 24},
		{"system/df", "BuilderSize", 0, 41},
		{"system/df", "LayersSize", 0, 0},
		{"system/df", "Images.0.VirtualSize", 0, 43},
		{"system/df", "Volumes.0.UsageData.Size", 0, 0},
		{"system/df", "ImageUsage", 52, 0},
		{"networks", "0.Containers", 0, 27},
		{"networks/net", "Containers", 0, 0},
		{"networks/net", "Status", 52, 0},
		{"version", "Components.0.Details.ApiVersion", 0, 0},
	} {
		from, to := max(row.from, oldest), row.to
		if to == 0 {
			to = newest + 1
		}
		for _, version := range []int{oldest, from - 1, from, to, to + 1, newest} {
			if version < oldest || version > newest+1 {
				continue
			}
			_, there := lookUp(get(t, version, strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D", "[", "%5B", "]", "%5D").Replace(row.path)), row.field)
			if want := version >= from && version <= to; there != want {
				t.Errorf("version 1.%d: GET %s: %s is there: %v, want %v", version, row.path, row.field, there, want)
			}
		}
	}
	for _, row := range []struct {
		version           int
		path, field, want string
	}{
		{42, `images/json?filters={"dangling":["true"]}`, "0.RepoTags", `["<none>:<none>"]`},
		{42, `images/json?filters={"dangling":["true"]}`, "0.RepoDigests", `["<none>@<none>"]`},
		{43, `images/json?filters={"dangling":["true"]}`, "0.RepoTags", `[]`},
		{43, `images/json?filters={"dangling":["true"]}`, "0.RepoDigests", `[]`},
		{50, "images/json?filter=busybox", "0.Containers", "-1"},
		{51, `images/json?filters={"reference":["busybox"]}`, "0.Containers", "3"},
		{40, "images/json?filter=nothing", "", "[]"},
		{41, "images/json", "0.SharedSize", "-1"},
		{51, "images/busybox/json", "Id", `"` + base + `"`},
		{44, "containers/two/json", "NetworkSettings.Networks.net.Aliases.0", `"second"`},
		{45, "containers/two/json", "NetworkSettings.Networks.net.Aliases", `["second"]`},
		{24, "info", "SecurityOptions", `["seccomp"]`},
		{25, "info", "SecurityOptions", `["name=seccomp,profile=builtin"]`},
		{51, "containers/two/json", "Config.MacAddress", `"02:42:00:00:00:22"`},
		{30, "volumes", "Volumes.0.Name", `"vol"`},
	} {
		got, _ := lookUp(get(t, row.version, strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D", "[", "%5B", "]", "%5D").Replace(row.path)), row.field)
		if b, _ := json.Marshal(got); strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(b)) != row.want {
			t.Errorf("version 1.%d: GET %s: %s is %s, want %s", row.version, row.path, row.field, b, row.want)
		}
	}
	// What older clients ask for means what it meant.
	for _, row := range []struct {
		version           int
		path, body, field string // of the container that it makes
		want              string
	}{
		{39, "containers/create", `{"Image":"busybox"}`, "HostConfig.IpcMode", `"shareable"`},
		{40, "containers/create", `{"Image":"busybox"}`, "HostConfig.IpcMode", `"private"`},
		{40, "containers/create", `{"Image":"busybox"}`, "HostConfig.CgroupnsMode", `"host"`},
		{42, "containers/create", `{"Image":"busybox","HostConfig":{"Annotations":{"a":"b"}}}`, "HostConfig.Annotations", `null`},
		{43, "containers/create", `{"Image":"busybox","HostConfig":{"Annotations":{"a":"b"}}}`, "HostConfig.Annotations.a", `"b"`},
		{43, "containers/create", `{"Image":"busybox","Healthcheck":{"Test":["CMD","true"],"StartInterval":1000000000}}`, "Config.Healthcheck.StartInterval", `null`},
		{44, "containers/create", `{"Image":"busybox","Healthcheck":{"Test":["CMD","true"],"StartInterval":1000000000}}`, "Config.Healthcheck.StartInterval", `1000000000`},
		{40, "containers/create?platform=linux/s390x", `{"Image":"busybox"}`, "Config.Image", `"busybox"`},
		{43, "containers/create", `{"Image":"busybox","MacAddress":"02:42:00:00:00:33"}`, "Config.MacAddress", `"02:42:00:00:00:33"`},
	} {
		code, made := ask(t, row.version, "POST", row.path, row.body)
		id, _ := lookUp(made, "Id")
		if code != 201 {
			t.Errorf("version 1.%d: POST %s %s: %d %v", row.version, row.path, row.body, code, made)
			continue
		}
		if w, _ := lookUp(made, "Warnings"); fmt.Sprint(w) != "[]" {
			t.Errorf("version 1.%d: POST %s %s warns %v", row.version, row.path, row.body, made)
		}
		got, _ := lookUp(get(t, 48, fmt.Sprintf("containers/%v/json", id)), row.field)
		if b, _ := json.Marshal(got); string(b) != row.want {
			t.Errorf("version 1.%d: POST %s %s: %s is %s, want %s", row.version, row.path, row.body, row.field, b, row.want)
		}
	}
	for _, row := range []struct {
		version            int
		method, path, body string
		code               int
		text               string
	}{
		{24, "POST", "containers/never/start", `{"Binds":["/:/host"]}`, 400, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"},
		{48, "POST", "containers/never/start", `{"Binds":["/:/host"]}`, 400, "removed in v1.24"},
		{41, "POST", "containers/create?platform=linux/s390x", `{"Image":"busybox"}`, 404, "does not provide the specified platform"},
		{30, "POST", "containers/never/wait?condition=sometime", "", 400, "invalid condition"},
		{29, "POST", "containers/never/wait?condition=sometime", "", 200, ""},
		{23, "GET", "info", "", 400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
		{99, "GET", "info", "", 400, "client version 1.99 is too new. Maximum supported API version is"},
		{24, "POST", "containers/never/copy", `{"Resource":"/etc"}`, 404, "page not found"},
		{24, "POST", "containers/never/start", "{}", 204, ""},
	} {
		code, doc := ask(t, row.version, row.method, row.path, row.body)
		text, _ := lookUp(doc, "message")
		if code != row.code || row.text != "" && !strings.Contains(fmt.Sprint(text), row.text) {
			t.Errorf("version 1.%d: %s %s %s: %d %v, want %d %s", row.version, row.method, row.path, row.body, code, doc, row.code, row.text)
		}
	}
	// An event says its first words until 1.51.
	for version, want := range map[int]bool{24: true, 51: true, 52: false} {
		out := m.Must("curl", "-s", "--unix-socket", filepath.Join(m.RunDir, "docker.sock"), fmt.Sprintf("http://docker/v1.%d/events?since=1&until=%d&filters=%s", version, time.Now().Unix()+1, "%7B%22container%22:%5B%22one%22%5D,%22event%22:%5B%22start%22%5D%7D"))
		for _, field := range []string{`"status":"start"`, `"id":"`, `"from":"busybox"`} {
			if strings.Contains(out, field) != want {
				t.Errorf("version 1.%d: an event has %s: %v, want %v: %s", version, field, !want, want, out)
			}
		}
		if !strings.Contains(out, `"Action":"start"`) || !strings.Contains(out, `"timeNano":`) {
			t.Errorf("version 1.%d: an event is %s", version, out)
		}
	}
}

// lookUp finds a field by its path: names of fields and indices of lists.
func lookUp(doc any, path string) (any, bool) {
	if path == "" {
		return doc, true
	}
	name, rest, _ := strings.Cut(path, ".")
	switch d := doc.(type) {
	case map[string]any:
		v, ok := d[name]
		if !ok {
			return nil, false
		}
		return lookUp(v, rest)
	case []any:
		i, err := strconv.Atoi(name)
		if err != nil || i >= len(d) {
			return nil, false
		}
		return lookUp(d[i], rest)
	}
	return nil, false
}
