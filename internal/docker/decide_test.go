package docker

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	dc "github.com/moby/moby/api/types/container"
	dm "github.com/moby/moby/api/types/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/container"
	"nau/internal/engine/layer"
)

func TestVersions(t *testing.T) {
	for _, tt := range []struct{ path, rest, version, err string }{
		{"/v1.43/info", "/info", "1.43", ""},
		{"/info", "/info", MaxVersion, ""},
		{"/volumes", "/volumes", MaxVersion, ""},
		{"/v1.24/_ping", "/_ping", "1.24", ""},
		{"/v1.23/info", "", "", "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
		{"/v1.99/info", "", "", "client version 1.99 is too new. Maximum supported API version is " + MaxVersion},
	} {
		rest, version, err := splitVersion(tt.path)
		if err == nil && (rest != tt.rest || version != tt.version) || err != nil && err.Error() != tt.err || err == nil && tt.err != "" {
			t.Errorf("%s: %q %q %v", tt.path, rest, version, err)
		}
	}
}

func TestMatch(t *testing.T) {
	split := func(s string) []string { return strings.Split(strings.Trim(s, "/"), "/") }
	for _, tt := range []struct {
		route, path, want string
		ok                bool
	}{
		{"/containers/{id}/json", "/containers/abc/json", "abc", true},
		{"/containers/{id}/json", "/containers/abc", "", false},
		{"/images/{id...}/json", "/images/nginx/json", "nginx", true},
		{"/images/{id...}/json", "/images/host:5000/a/b/json", "host:5000/a/b", true},
		{"/images/{id...}", "/images/a/b:c", "a/b:c", true},
		{"/images/{id...}/json", "/images/json", "", false},
		{"/images/{id...}", "/images", "", false},
	} {
		vars, ok := match(split(tt.route), split(tt.path))
		if ok != tt.ok || ok && vars["id"] != tt.want {
			t.Errorf("%s with %s: %v %v", tt.route, tt.path, vars, ok)
		}
	}
}

func TestFilters(t *testing.T) {
	for _, text := range []string{`{"label":{"a=b":true},"name":{"x":true}}`, `{"label":["a=b"],"name":["x"]}`} {
		f, err := parseFilters(text, "label", "name")
		if err != nil {
			t.Fatal(err)
		}
		if !f.labels(map[string]string{"a": "b"}) || f.labels(map[string]string{"a": "c"}) || !f.exact("name", "x") || f.exact("name", "y") || !f.exact("id", "any") {
			t.Errorf("filters of %s: %v", text, f)
		}
	}
	if _, err := parseFilters(`{"bogus":{"x":true}}`, "label"); err == nil || err.Error() != "invalid filter 'bogus'" {
		t.Errorf("unknown filter: %v", err)
	}
}

func FuzzFilters(f *testing.F) {
	f.Add(`{"label":{"a=b":true}}`)
	f.Add(`{"label":["a"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if fs, err := parseFilters(text, "label"); err == nil {
			fs.labels(map[string]string{"a": "b"})
			_, _ = fs.boolean("label", false)
			fs.until(time.Unix(0, 0))
		}
	})
}

func TestBinds(t *testing.T) {
	for _, tt := range []struct{ text, source, name, target, err string }{
		{"/a:/b", "/a", "", "/b", ""},
		{"/a:/b:ro", "/a", "", "/b", ""},
		{"vol:/b/", "", "vol", "/b", ""},
		{"/b", "", "", "/b", ""},
		{"/a:b", "", "", "", "mount path must be absolute"},
		{"/a:/", "", "", "", "destination can't be '/'"},
		{"/a:/b:bad", "", "", "", "invalid mode: bad"},
		{"/a:/b:nocopy", "", "", "", "invalid mode: nocopy"},
		{"a1:/b:shared", "", "", "", "field BindOptions must not be specified"},
		{"a/b:/c", "", "", "", `includes invalid characters for a local volume name`},
		{":/b", "", "", "", "invalid volume specification"},
		{"", "", "", "", "invalid volume specification"},
		{"a:b:c:d", "", "", "", "invalid volume specification"},
	} {
		w, err := parseBind(tt.text)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || statusOf(err) != 400 {
				t.Errorf("%q: %v, want %q", tt.text, err, tt.err)
			}
			continue
		}
		if err != nil || w.mount.Source != tt.source || w.point.Name != tt.name || w.mount.Target != tt.target || w.mount.ReadOnly != strings.HasSuffix(tt.text, ":ro") {
			t.Errorf("%q: %+v %v", tt.text, w, err)
		}
	}
}

func FuzzBind(f *testing.F) {
	for _, s := range []string{"/a:/b:ro", "v:/x", "::", "a:/../..:z,ro"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := parseBind(text)
		if err == nil && (!strings.HasPrefix(w.mount.Target, "/") || strings.Contains(w.mount.Target, "..") && strings.Contains("/"+w.mount.Target+"/", "/../")) {
			t.Errorf("%q mounts at %q", text, w.mount.Target)
		}
	})
}

// The lines of the lecture that Docker refuses, with its words.
func TestLectureRefusals(t *testing.T) {
	_, err := parseMount(dm.Mount{Type: dm.TypeVolume, Source: "/app", Target: "/var/www"})
	want := `create /app: "/app" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`
	if err == nil || err.Error() != want || statusOf(err) != 400 {
		t.Errorf("volume with a slash: %v", err)
	}
	_, err = parseMount(dm.Mount{Type: dm.TypeBind, Source: "/no/such/folder", Target: "/var/www"})
	if err == nil || err.Error() != `invalid mount config for type "bind": bind source path does not exist: /no/such/folder` {
		t.Errorf("bind of what is not there: %v", err)
	}
}

func TestAgain(t *testing.T) {
	policy := func(name dc.RestartPolicyMode, n int) dc.RestartPolicy {
		return dc.RestartPolicy{Name: name, MaximumRetryCount: n}
	}
	for _, tt := range []struct {
		name  string
		p     dc.RestartPolicy
		e     end
		yes   bool
		pause time.Duration
	}{
		{"no policy", policy("", 0), end{code: 1}, false, 0},
		{"always", policy("always", 0), end{}, true, firstPause},
		{"always, stopped", policy("always", 0), end{stopped: true}, false, 0},
		{"pauses double", policy("always", 0), end{pause: time.Second}, true, 2 * time.Second},
		{"pauses end at a minute", policy("always", 0), end{pause: 50 * time.Second}, true, time.Minute},
		{"a good run", policy("always", 0), end{pause: 50 * time.Second, ran: 11 * time.Second}, true, firstPause},
		{"on failure, success", policy("on-failure", 3), end{}, false, 0},
		{"on failure", policy("on-failure", 3), end{code: 1, tries: 2}, true, firstPause},
		{"on failure, enough", policy("on-failure", 3), end{code: 1, tries: 3}, false, 0},
		{"on failure without end", policy("on-failure", 0), end{code: 1, tries: 99}, true, firstPause},
	} {
		if yes, pause := again(tt.p, tt.e); yes != tt.yes || pause != tt.pause {
			t.Errorf("%s: %v after %v", tt.name, yes, pause)
		}
	}
	if !atStart(policy("always", 0), true, true, 0) || atStart(policy("unless-stopped", 0), true, true, 0) || !atStart(policy("unless-stopped", 0), false, true, 0) ||
		atStart(policy("on-failure", 0), false, true, 0) || atStart(policy("always", 0), false, false, 0) {
		t.Error("what is started at the start")
	}
}

func TestJudge(t *testing.T) {
	h := dc.Health{Status: dc.Starting}
	fail, good := dc.HealthcheckResult{ExitCode: 1}, dc.HealthcheckResult{}
	for i, step := range []struct {
		r        dc.HealthcheckResult
		starting bool
		want     dc.HealthStatus
		streak   int
	}{
		{fail, true, dc.Starting, 0}, {fail, false, dc.Starting, 1}, {fail, false, dc.Starting, 2}, {fail, false, dc.Unhealthy, 3},
		{good, false, dc.Healthy, 0}, {fail, false, dc.Healthy, 1}, {good, false, dc.Healthy, 0},
	} {
		if h = judge(h, step.r, step.starting, 3); h.Status != step.want || h.FailingStreak != step.streak || len(h.Log) > healthKept {
			t.Errorf("step %d: %+v", i, h)
		}
	}
}

func TestDetach(t *testing.T) {
	keys, err := parseDetachKeys("ctrl-p,ctrl-q")
	if err != nil || !bytes.Equal(keys, defaultDetach) {
		t.Fatal(keys, err)
	}
	if _, err := parseDetachKeys("ctrl-"); err == nil {
		t.Error("ctrl- is no key")
	}
	for _, tt := range []struct {
		in, out  string
		detached bool
	}{{"abc", "abc", false}, {"a\x10b", "a\x10b", false}, {"a\x10\x11b", "a", true}, {"\x10\x10\x11", "\x10", true}, {"x\x10", "x", false}} {
		gone := false
		d := &detachable{from: strings.NewReader(tt.in), keys: keys, gone: func() { gone = true }}
		var b bytes.Buffer
		_, err := io.Copy(&b, d)
		if b.String() != tt.out || gone != tt.detached || gone != errors.Is(err, errDetached) {
			t.Errorf("%q: %q, detached %v, %v", tt.in, b.String(), gone, err)
		}
	}
}

func TestMultiplex(t *testing.T) {
	var b bytes.Buffer
	out, errs := multiplex(&b)
	_, _ = io.WriteString(out, "ab")
	_, _ = io.WriteString(errs, "c")
	if want := "\x01\x00\x00\x00\x00\x00\x00\x02ab\x02\x00\x00\x00\x00\x00\x00\x01c"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}

func TestMerge(t *testing.T) {
	img := dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Entrypoint: []string{"/e"}, Cmd: []string{"c"}, Env: []string{"A=1", "B=2"}, WorkingDir: "/w"}}
	for _, tt := range []struct {
		name       string
		c          dc.Config
		entry, cmd []string
	}{
		{"nothing given", dc.Config{}, []string{"/e"}, []string{"c"}},
		{"command given", dc.Config{Cmd: []string{"x"}}, []string{"/e"}, []string{"x"}},
		{"entrypoint given", dc.Config{Entrypoint: []string{"/f"}}, []string{"/f"}, nil},
		{"entrypoint taken away", dc.Config{Entrypoint: []string{""}, Cmd: []string{"x"}}, nil, []string{"x"}},
	} {
		merge(&tt.c, img)
		if !slices.Equal(tt.c.Entrypoint, tt.entry) || !slices.Equal(tt.c.Cmd, tt.cmd) {
			t.Errorf("%s: %q %q", tt.name, tt.c.Entrypoint, tt.c.Cmd)
		}
	}
	c := dc.Config{Env: []string{"A=9"}}
	merge(&c, img)
	if !slices.Contains(c.Env, "A=9") || slices.Contains(c.Env, "A=1") || !slices.Contains(c.Env, "B=2") {
		t.Errorf("environment: %q", c.Env)
	}
}

func TestChanged(t *testing.T) {
	c, err := changed(dockerspec.DockerOCIImageConfig{}, []string{`CMD ["a","b"]`, "ENV X=1 Y='two words'", "EXPOSE 80 53/udp", "LABEL l=v", "WORKDIR /w", "USER 5"})
	if err != nil || !slices.Equal(c.Cmd, []string{"a", "b"}) || !slices.Contains(c.Env, "Y=two words") || c.Labels["l"] != "v" || c.WorkingDir != "/w" || c.User != "5" || len(c.ExposedPorts) != 2 {
		t.Errorf("%+v %v", c, err)
	}
	c, err = changed(c, []string{"HEALTHCHECK --retries=2 CMD true", "ONBUILD RUN x", "STOPSIGNAL USR1", "WORKDIR deeper", "ENV Z=$X", "VOLUME /v", `ENTRYPOINT ["e"]`})
	if err != nil || c.Healthcheck == nil || c.Healthcheck.Retries != 2 || !slices.Equal(c.OnBuild, []string{"RUN x"}) || c.StopSignal != "USR1" || c.WorkingDir != "/w/deeper" ||
		!slices.Contains(c.Env, "Z=1") || len(c.Volumes) != 1 || !slices.Equal(c.Entrypoint, []string{"e"}) || c.Cmd != nil {
		t.Errorf("%+v %v", c, err)
	}
	for line, want := range map[string]string{"RUN x": "RUN is not a valid change command", "copy a b": "copy is not a valid change command", "STOPSIGNAL nonsense": "nonsense", "EXPOSE many": "many"} {
		if _, err := changed(c, []string{line}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		r   dc.Resources
		err string
	}{
		{dc.Resources{Memory: 1 << 20}, "Minimum memory limit allowed is 6MB"},
		{dc.Resources{Memory: 64 << 20, MemorySwap: 32 << 20}, "Minimum memoryswap limit should be larger than memory limit, see usage"},
		{dc.Resources{NanoCPUs: 1e15}, "range of CPUs is from 0.01"},
		{dc.Resources{BlkioWeight: 5}, "Range of blkio weight is from 10 to 1000"},
		{dc.Resources{DeviceCgroupRules: []string{"x"}}, "invalid device cgroup rule format: 'x'"},
	} {
		if _, _, err := limits(&tt.r, everything); err == nil || !strings.Contains(err.Error(), tt.err) || statusOf(err) != 400 {
			t.Errorf("%+v: %v", tt.r, err)
		}
	}
	l, _, err := limits(&dc.Resources{Memory: 64 << 20, MemorySwap: 128 << 20, NanoCPUs: 5e8}, everything)
	if err != nil || *l.Memory != 64<<20 || *l.Swap != 128<<20 || *l.CPUQuota != 50_000 || *l.CPUPeriod != cpuPeriod {
		t.Errorf("%+v %v", l, err)
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Time{"": {}, "0": {}, "1700000000": time.Unix(1700000000, 0), "1700000000.5": time.Unix(1700000000, 5e8), "2023-11-14T22:13:20Z": time.Unix(1700000000, 0)} {
		if got, err := parseTime(text); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	if _, err := parseTime("soon"); err == nil {
		t.Error("soon is no time")
	}
	for d, want := range map[time.Duration]string{0: "Less than a second", time.Second: "1 second", 90 * time.Second: "About a minute", 5 * time.Minute: "5 minutes", time.Hour: "About an hour", 50 * time.Hour: "2 days"} {
		if got := ago(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}

func TestVisible(t *testing.T) {
	r := &container.Record{}
	all := []layer.Change{{Path: "/etc", Kind: layer.Modified}, {Path: "/etc/hostname", Kind: layer.Added}, {Path: "/etc/hosts", Kind: layer.Added}, {Path: "/tmp", Kind: layer.Modified}, {Path: "/tmp/x", Kind: layer.Added}}
	if got := visible(all, r); len(got) != 2 || got[0].Path != "/tmp" {
		t.Errorf("%v", got)
	}
	all = append(all[:3:3], layer.Change{Path: "/etc/passwd", Kind: layer.Modified})
	if got := visible(all, r); len(got) != 2 || got[0].Path != "/etc" || got[1].Path != "/etc/passwd" {
		t.Errorf("%v", got)
	}
}

func TestNames(t *testing.T) {
	var n names
	taken := map[string]bool{}
	for range 500 {
		name := n.free(func(s string) bool { return taken[s] })
		if taken[name] || !nameRule.MatchString(name) {
			t.Fatal(name)
		}
		taken[name] = true
	}
}

func TestStatus(t *testing.T) {
	for err, want := range map[error]int{notFound("x"): 404, container.ErrState: 409, layer.ErrNotFound: 404, errors.New("x"): 500} {
		if got := statusOf(err); got != want {
			t.Errorf("%v: %d", err, got)
		}
	}
}

func TestRegistryHost(t *testing.T) {
	for address, want := range map[string]string{"": "docker.io", "https://index.docker.io/v1/": "docker.io", "127.0.0.1:5000": "127.0.0.1:5000", "https://reg.example/v2/": "reg.example", "reg.example": "reg.example"} {
		if got := registryHost(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
