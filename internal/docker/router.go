package docker

import (
	"context"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
)

// call is one request: its path without the version, and the version.
type call struct {
	*http.Request
	w       http.ResponseWriter
	version string            // "1.50"
	vars    map[string]string // of the route's braces
	query   url.Values
}

func (c *call) ctx() context.Context { return c.Request.Context() }

// flag reads a boolean parameter as Docker does: anything but empty, 0, no, false, none is true.
func (c *call) flag(name string) bool {
	switch strings.ToLower(strings.TrimSpace(c.query.Get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// flagOr is flag with a default for a missing parameter.
func (c *call) flagOr(name string, otherwise bool) bool {
	if !c.query.Has(name) {
		return otherwise
	}
	return c.flag(name)
}

func (c *call) get(name string) string { return c.query.Get(name) }

// atLeast compares the request's version.
func (c *call) atLeast(version string) bool { return compareVersions(c.version, version) >= 0 }

func (c *call) json(code int, v any) error { writeJSON(c.w, code, v); return nil }

func (c *call) done(code int) error { c.w.WriteHeader(code); return nil }

// route is one line of the API. A path part in braces is a variable; "{x...}" takes one part or more.
type route struct {
	method, path string
	do           func(*call) error
}

// document wraps a handler of requests with a JSON document: that is judged before the thing that the path names is looked for.
func document(do func(*call) error) func(*call) error {
	return func(c *call) error {
		if err := readDocument(c.Request); err != nil {
			return err
		}
		return do(c)
	}
}

// routes is the whole API, in the order in which paths are tried.
func (s *Server) routes() []route {
	return []route{
		{"GET", "/_ping", s.ping}, {"HEAD", "/_ping", s.ping},
		{"GET", "/version", s.getVersion}, {"GET", "/info", s.getInfo}, {"POST", "/auth", document(s.postAuth)},
		{"GET", "/events", s.getEvents}, {"GET", "/system/df", s.getDiskUsage},

		{"GET", "/containers/json", s.listContainers}, {"POST", "/containers/create", document(s.createContainer)}, {"POST", "/containers/prune", s.pruneContainers},
		{"GET", "/containers/{id...}/json", s.inspectContainer}, {"GET", "/containers/{id}/logs", s.getLogs},
		{"GET", "/containers/{id}/changes", s.getChanges}, {"GET", "/containers/{id}/export", s.exportContainer},
		{"GET", "/containers/{id}/stats", s.getStats}, {"GET", "/containers/{id}/top", s.getTop},
		{"HEAD", "/containers/{id}/archive", s.statArchive}, {"GET", "/containers/{id}/archive", s.getArchive}, {"PUT", "/containers/{id}/archive", s.putArchive},
		{"POST", "/containers/{id}/start", s.startContainer}, {"POST", "/containers/{id}/stop", s.stopContainer},
		{"POST", "/containers/{id}/restart", s.restartContainer}, {"POST", "/containers/{id}/kill", s.killContainer},
		{"POST", "/containers/{id}/pause", s.pauseContainer}, {"POST", "/containers/{id}/unpause", s.unpauseContainer},
		{"POST", "/containers/{id}/rename", s.renameContainer}, {"POST", "/containers/{id}/update", document(s.updateContainer)},
		{"POST", "/containers/{id}/resize", s.resizeContainer}, {"POST", "/containers/{id}/wait", s.waitContainer},
		{"POST", "/containers/{id}/attach", s.attachContainer}, {"GET", "/containers/{id}/attach/ws", s.attachWebSocket}, {"POST", "/containers/{id}/exec", document(s.createExec)},
		{"GET", "/containers/{id}/checkpoints", s.refuseCheckpoint}, {"POST", "/containers/{id}/checkpoints", s.refuseCheckpoint},
		{"DELETE", "/containers/{id}/checkpoints/{checkpoint}", s.refuseCheckpoint},
		{"DELETE", "/containers/{id...}", s.removeContainer}, {"POST", "/commit", document(s.commitContainer)},

		{"GET", "/exec/{id}/json", s.inspectExec}, {"POST", "/exec/{id}/start", document(s.startExec)}, {"POST", "/exec/{id}/resize", s.resizeExec},

		{"GET", "/images/json", s.listImages}, {"POST", "/images/create", s.createImage}, {"GET", "/images/search", s.searchImages},
		{"POST", "/images/load", s.loadImages}, {"GET", "/images/get", s.saveImages}, {"POST", "/images/prune", s.pruneImages},
		{"GET", "/images/{name...}/json", s.inspectImage}, {"GET", "/images/{name...}/history", s.imageHistory},
		{"GET", "/images/{name...}/attestations", s.attestations},
		{"GET", "/images/{name...}/get", s.saveImages}, {"POST", "/images/{name...}/push", s.pushImage},
		{"POST", "/images/{name...}/tag", s.tagImage}, {"DELETE", "/images/{name...}", s.removeImage},
		{"GET", "/distribution/{name...}/json", s.inspectDistribution},

		{"GET", "/volumes", s.listVolumes}, {"POST", "/volumes/create", document(s.createVolume)}, {"POST", "/volumes/prune", s.pruneVolumes},
		{"GET", "/volumes/{name}", s.inspectVolume}, {"PUT", "/volumes/{name}", s.updateVolume}, {"DELETE", "/volumes/{name}", s.removeVolume},

		{"GET", "/networks", s.listNetworks}, {"POST", "/networks/create", document(s.createNetwork)}, {"POST", "/networks/prune", s.pruneNetworks},
		{"GET", "/networks/{id...}", s.inspectNetwork}, {"DELETE", "/networks/{id...}", s.removeNetwork},
		{"POST", "/networks/{id...}/connect", document(s.connectNetwork)}, {"POST", "/networks/{id...}/disconnect", document(s.disconnectNetwork)},

		{"GET", "/plugins", s.listPlugins}, {"GET", "/plugins/privileges", s.refusePlugin}, {"POST", "/plugins/pull", document(s.pullPlugin)}, {"POST", "/plugins/create", s.refusePlugin},
		{"GET", "/plugins/{name...}/json", s.missingPlugin}, {"DELETE", "/plugins/{name...}", s.missingPlugin},
		{"POST", "/plugins/{name...}/enable", s.missingPlugin},
		{"POST", "/plugins/{name...}/disable", s.missingPlugin},
		{"POST", "/plugins/{name...}/set", document(s.missingPlugin)},
		{"POST", "/plugins/{name...}/push", s.missingPlugin},
		{"POST", "/plugins/{name...}/upgrade", document(s.missingPlugin)},
		{"POST", "/grpc", s.postGRPC}, {"POST", "/session", s.postSession},
		{"POST", "/build", s.buildImage}, {"POST", "/build/cancel", s.cancelBuild},
		{"POST", "/build/prune", s.pruneBuilds},
	}
}

// router matches requests with routes.
func (s *Server) router() http.Handler {
	type line struct {
		route
		parts []string
	}
	byFirst := map[string][]line{}
	for _, r := range s.routes() {
		parts := strings.Split(strings.TrimPrefix(r.path, "/"), "/")
		byFirst[parts[0]] = append(byFirst[parts[0]], line{r, parts})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Api-Version", MaxVersion)
		h.Set("Ostype", "linux")
		h.Set("Docker-Experimental", strconv.FormatBool(s.cfg.Experimental))
		h.Set("Server", "Docker/"+s.cfg.Version+" (linux)")
		path, version, err := splitVersion(r.URL.Path)
		if err != nil {
			writeError(w, err)
			return
		}
		parts := strings.Split(strings.Trim(path, "/"), "/")
		c := &call{Request: r, w: w, version: version, query: r.URL.Query()}
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				s.log.Error("panic while answering", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler)
			}
		}()
		known := false
		for _, l := range byFirst[parts[0]] {
			vars, ok := match(l.parts, parts)
			if !ok {
				continue
			}
			if known = true; l.method != r.Method {
				continue
			}
			c.vars = vars
			if err := l.do(c); err != nil {
				writeError(w, err)
			}
			return
		}
		switch {
		case known: // by another method. Clients that try one kind of object after another count on 404
			writeError(w, notFound("page not found"))
		case path == "/swarm/init" || path == "/swarm/join":
			writeError(w, fail(http.StatusNotImplemented, "this engine does not form a swarm"))
		case path == "/swarm/leave":
			writeError(w, fail(http.StatusServiceUnavailable, "This node is not part of a swarm"))
		case parts[0] == "swarm" || parts[0] == "services" || parts[0] == "nodes" || parts[0] == "tasks" || parts[0] == "secrets" || parts[0] == "configs":
			writeError(w, fail(http.StatusServiceUnavailable, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."))
		default:
			writeError(w, notFound("page not found"))
		}
	})
}

// splitVersion takes "/v1.43" off a path.
func splitVersion(path string) (rest, version string, err error) {
	if !strings.HasPrefix(path, "/v") {
		return path, MaxVersion, nil
	}
	version, rest, ok := strings.Cut(path[2:], "/")
	if _, _, good := parseVersion(version); !ok || !good {
		return path, MaxVersion, nil // such as /volumes
	}
	if compareVersions(version, MinVersion) < 0 {
		return "", "", badRequest("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", version, MinVersion)
	}
	if compareVersions(version, MaxVersion) > 0 {
		return "", "", badRequest("client version %s is too new. Maximum supported API version is %s", version, MaxVersion)
	}
	return "/" + rest, version, nil
}

func parseVersion(v string) (major, minor int, ok bool) {
	a, b, ok := strings.Cut(v, ".")
	if !ok {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, err1 == nil && err2 == nil && major >= 0 && minor >= 0
}

func compareVersions(a, b string) int {
	a1, a2, _ := parseVersion(a)
	b1, b2, _ := parseVersion(b)
	if a1 != b1 {
		return a1 - b1
	}
	return a2 - b2
}

// mayMatch tells most routes from a path without making anything.
func mayMatch(want, have []string) bool {
	for i, p := range want {
		if strings.HasSuffix(p, "...}") {
			return true
		}
		if i >= len(have) || p != have[i] && !strings.HasPrefix(p, "{") {
			return false
		}
	}
	return len(want) == len(have)
}

// match compares a path with a route's parts.
func match(want, have []string) (map[string]string, bool) {
	if !mayMatch(want, have) {
		return nil, false
	}
	vars := map[string]string{}
	for i, p := range want {
		switch {
		case strings.HasSuffix(p, "...}"):
			tail := len(want) - i - 1
			end := len(have) - tail
			if end <= i {
				return nil, false
			}
			vars[p[1:len(p)-4]] = strings.Join(have[i:end], "/")
			if _, ok := match(want[i+1:], have[end:]); !ok {
				return nil, false
			}
			return vars, true
		case i >= len(have):
			return nil, false
		case strings.HasPrefix(p, "{"):
			if have[i] == "" {
				return nil, false
			}
			vars[p[1:len(p)-1]] = have[i]
		case p != have[i]:
			return nil, false
		}
	}
	return vars, len(want) == len(have)
}
