package docker

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/docker/go-units"
	bt "github.com/moby/moby/api/types/build"

	"nau/internal/docker/buildkit"
	"nau/internal/engine/build"
	"nau/internal/engine/record"
)

// Where the context of a posted build is. Source: docker CLI 18.09 to 22 on the wire.
const (
	ofSession = "client-session" // a folder of the client's, which its session serves
	ofUpload  = "upload-request" // an archive that another request brings: that one's build ID is this word, a colon, and the build's own ID
)

// uploads bring together the two requests of a build whose context is an archive.
type uploads struct {
	mu   sync.Mutex
	byID map[string]*upload
}

// upload is one archive on its way.
type upload struct {
	body  chan io.Reader
	read  chan struct{} // closed when the build needs no more of it
	taken bool          // a build has it
}

func (u *uploads) of(id string) *upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.find(id)
}

// find is of for who holds mu.
func (u *uploads) find(id string) *upload {
	if u.byID == nil {
		u.byID = map[string]*upload{}
	}
	if u.byID[id] == nil {
		u.byID[id] = &upload{body: make(chan io.Reader), read: make(chan struct{})}
	}
	return u.byID[id]
}

// take is of for the build; one archive is for one.
func (u *uploads) take(id string) (up *upload, first bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up = u.find(id)
	first = !up.taken
	up.taken = true
	return up, first
}

func (u *uploads) drop(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byID, id)
}

// postedBuild answers POST /build?version=2: BuildKit's builder, asked by clients that do not speak its protocol to the end. What it tells
// are BuildKit's own messages.
func (s *Server) postedBuild(c *call) error {
	if id, ok := strings.CutPrefix(c.get("buildid"), ofUpload+":"); ok {
		return s.postedArchive(c, id)
	}
	p, err := postedRequest(c)
	if err != nil {
		return err
	}
	if c.flag("squash") {
		if !s.cfg.Experimental {
			return badRequest("squash is only supported with experimental mode")
		}
		return badRequest("squash is not supported by BuildKit builds: set DOCKER_BUILDKIT=0")
	}
	auths, err := registryConfig(c.Header.Get("X-Registry-Config"))
	if err != nil {
		return err
	}
	if p.Auth = authIn(auths); p.Session != "" {
		p.Auth = nil
	}
	if c.get("remote") == ofUpload {
		up, first := s.uploads.take(p.Ref)
		if !first {
			return conflict("build %s is under way: another one needs an ID of its own", p.Ref)
		}
		defer s.uploads.drop(p.Ref)
		defer close(up.read)
		select {
		case p.Archive = <-up.body:
		case <-c.ctx().Done():
			return c.ctx().Err()
		}
	}
	out, quiet := newProgress(c), c.flag("q")
	if err := out.out.EnableFullDuplex(); err != nil { // the story begins before the archive is read
		return err
	}
	var kept [][]byte
	id, err := s.buildkit.Build(c.ctx(), p, func(status []byte) {
		if quiet {
			kept = append(kept, status)
			return
		}
		out.put(line{ID: "moby.buildkit.trace", Aux: status})
	})
	switch {
	case err != nil:
		for _, status := range kept { // quiet about what goes well
			out.put(line{ID: "moby.buildkit.trace", Aux: status})
		}
		return out.finish(err)
	case id == "":
	case quiet:
		out.put(line{Stream: id + "\n"})
	default:
		out.put(line{ID: "moby.image.id", Aux: bt.Result{ID: id}})
	}
	return nil
}

// postedArchive hands an archive to the build that waits for it, and lasts until that has read it.
func (s *Server) postedArchive(c *call, id string) error {
	up := s.uploads.of(id)
	select {
	case up.body <- c.Body:
	case <-c.ctx().Done():
		s.uploads.drop(id)
		return c.ctx().Err()
	}
	select {
	case <-up.read:
	case <-c.ctx().Done():
	}
	return c.done(200)
}

// cancelBuild answers POST /build/cancel.
func (s *Server) cancelBuild(c *call) error {
	id := c.get("id")
	if id == "" {
		return badRequest("build ID not provided")
	}
	s.buildkit.Cancel(id)
	return c.done(200)
}

// postedRequest reads the query into what the front end is asked. Source: Docker Engine API, "ImageBuild"; BuildKit, the attributes of dockerfile.v0.
func postedRequest(c *call) (buildkit.Posted, error) {
	p := buildkit.Posted{Ref: cmp.Or(c.get("buildid"), record.NewID()), Session: c.get("session"), Exporter: "moby", Exports: map[string]string{},
		Attrs: map[string]string{"filename": c.get("dockerfile"), "target": c.get("target"), "platform": c.get("platform")}}
	switch remote := c.get("remote"); {
	case remote == "":
		p.Archive = c.Body
	case remote == ofSession || remote == ofUpload:
	case build.IsRemote(remote):
		p.Attrs["context"] = remote
	default:
		return p, badRequest("cannot use %q as a context: it is no address of an archive, a Dockerfile or a repository", remote)
	}
	if c.flag("nocache") {
		p.Attrs["no-cache"] = ""
	}
	if c.flag("pull") {
		p.Attrs["image-resolve-mode"] = "pull"
	}
	var args map[string]*string
	var labels map[string]string
	var from, hosts []string
	var limits []units.Ulimit
	var outputs []struct {
		Type  string
		Attrs map[string]string
	}
	for _, d := range []struct {
		name string
		into any
	}{{"buildargs", &args}, {"labels", &labels}, {"cachefrom", &from}, {"ulimits", &limits}, {"outputs", &outputs}} {
		if v := c.get(d.name); v != "" {
			if err := json.Unmarshal([]byte(v), d.into); err != nil {
				return p, badRequest("error reading %s: %v", d.name, err)
			}
		}
	}
	for k, v := range args {
		if v != nil {
			p.Attrs["build-arg:"+k] = *v
		}
	}
	for k, v := range labels {
		p.Attrs["label:"+k] = v
	}
	if len(from) > 0 {
		p.Attrs["cache-from"] = strings.Join(from, ",")
	}
	for _, h := range c.query["extrahosts"] {
		if json.Unmarshal([]byte(h), &hosts) != nil {
			hosts = append(hosts, strings.Split(h, ",")...)
		}
	}
	for i, h := range hosts {
		hosts[i] = strings.Replace(strings.Replace(h, "=", ":", 1), ":", "=", 1)
	}
	var ulimits []string
	for _, u := range limits {
		ulimits = append(ulimits, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	for name, list := range map[string][]string{"add-hosts": hosts, "ulimit": ulimits} {
		if len(list) > 0 {
			p.Attrs[name] = oneRow(list)
		}
	}
	if n := c.limit("shmsize"); n > 0 {
		p.Attrs["shm-size"] = strconv.FormatInt(n, 10)
	}
	if g := c.get("cgroupparent"); g != "" {
		p.Attrs["cgroup-parent"] = g
	}
	switch mode := c.get("networkmode"); mode {
	case "", "default", "bridge":
	case "none", "host":
		p.Attrs["force-network-mode"], p.HostNet = mode, mode == "host"
	default:
		return p, badRequest("network mode %q not supported by buildkit", mode)
	}
	var tags []string
	for _, t := range c.query["t"] {
		if t != "" {
			tags = append(tags, t)
		}
	}
	switch {
	case len(outputs) > 1:
		return p, badRequest("multiple outputs not supported")
	case len(outputs) == 1 && outputs[0].Type == "cacheonly":
		p.Exporter = ""
	case len(outputs) == 1:
		p.Exporter = outputs[0].Type
		maps.Copy(p.Exports, outputs[0].Attrs)
	}
	if slices.Contains([]string{"moby", "image"}, p.Exporter) && len(tags) > 0 {
		p.Exports["name"] = strings.Join(tags, ",")
	}
	return p, nil
}

// oneRow writes a list as one line of CSV.
func oneRow(list []string) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(list) // a strings.Builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}
