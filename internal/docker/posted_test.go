package docker

import (
	"io"
	"maps"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"nau/internal/docker/buildkit"
)

func posted(t *testing.T, query string) (buildkit.Posted, error) {
	t.Helper()
	r := httptest.NewRequest("POST", "/build?version=2&"+query, strings.NewReader("archive"))
	return postedRequest(&call{Request: r, query: r.URL.Query()})
}

// What a posted build asks for is what the front end and the exporter are asked for.
func TestPostedRequest(t *testing.T) {
	q := url.QueryEscape
	for _, c := range []struct {
		name, query string
		attrs       map[string]string // beside the three that are always there
		exporter    string
		exports     map[string]string
		archive     bool
	}{
		{name: "an archive", query: "t=a&t=&t=b:c", exporter: "moby", exports: map[string]string{"name": "a,b:c"}, archive: true},
		{name: "a session's folder", query: "remote=client-session&session=x", exporter: "moby"},
		{name: "an archive to come", query: "remote=upload-request&session=x&buildid=y", exporter: "moby"},
		{name: "an address", query: "remote=" + q("http://host/x.tar"), exporter: "moby", attrs: map[string]string{"context": "http://host/x.tar"}},
		{name: "switches", query: "remote=client-session&nocache=1&pull=1&networkmode=none&shmsize=5&cgroupparent=/x", exporter: "moby",
			attrs: map[string]string{"no-cache": "", "image-resolve-mode": "pull", "force-network-mode": "none", "shm-size": "5", "cgroup-parent": "/x"}},
		{name: "lists", query: "remote=client-session&buildargs=" + q(`{"A":"1","B":null}`) + "&labels=" + q(`{"l":"m"}`) + "&cachefrom=" + q(`["x","y"]`) + "&extrahosts=" + q(`["h:::1","i=1.2.3.4"]`) +
			"&ulimits=" + q(`[{"Name":"nofile","Soft":1,"Hard":2}]`), exporter: "moby",
			attrs: map[string]string{"build-arg:A": "1", "label:l": "m", "cache-from": "x,y", "add-hosts": "h=::1,i=1.2.3.4", "ulimit": "nofile=1:2"}},
		{name: "files", query: "remote=client-session&t=a&outputs=" + q(`[{"Type":"tar","Attrs":{"dest":"x"}}]`), exporter: "tar", exports: map[string]string{"dest": "x"}},
		{name: "nothing", query: "remote=client-session&t=a&outputs=" + q(`[{"Type":"cacheonly"}]`)},
	} {
		p, err := posted(t, c.query+"&target=two&dockerfile=D&platform=linux/amd64")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := map[string]string{"filename": "D", "target": "two", "platform": "linux/amd64"}
		maps.Copy(want, c.attrs)
		if !maps.Equal(p.Attrs, want) || p.Exporter != c.exporter || !maps.Equal(p.Exports, c.exports) || (p.Archive != nil) != c.archive || p.Ref == "" {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	for query, want := range map[string]string{
		"networkmode=container:x":                           `network mode "container:x" not supported by buildkit`,
		"outputs=" + q(`[{"Type":"tar"},{"Type":"local"}]`): "multiple outputs not supported",
		"buildargs=x":     "error reading buildargs: invalid character 'x' looking for beginning of value",
		"remote=nonsense": `cannot use "nonsense" as a context: it is no address of an archive, a Dockerfile or a repository`,
	} {
		if _, err := posted(t, query); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
	if p, _ := posted(t, "networkmode=host"); !p.HostNet || p.Attrs["force-network-mode"] != "host" {
		t.Errorf("the host's network: %+v", p)
	}
}

// The two requests of a build whose context is an archive find each other, whichever comes first.
func TestUploads(t *testing.T) {
	for _, first := range []string{"the build", "the archive"} {
		var u uploads
		if first == "the archive" {
			u.of("x")
		}
		go func() { u.of("x").body <- strings.NewReader("archive") }()
		up, alone := u.take("x")
		if _, again := u.take("x"); !alone || again {
			t.Errorf("%s first: an archive is for one build: %v, %v", first, alone, again)
		}
		if b, err := io.ReadAll(<-up.body); err != nil || string(b) != "archive" {
			t.Errorf("%s first: %q, %v", first, b, err)
		}
		if u.drop("x"); len(u.byID) != 0 {
			t.Errorf("%s first: an upload is left", first)
		}
	}
}
