package buildkit

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
)

// options are a front end's attributes understood. Source: docs/reference of buildx, and the attributes that it sends.
type options struct {
	Filename   string
	Target     string
	Remote     string // URL of the context; "" = the client's folder
	ContextKey string // by which the client knows its folder
	FileKey    string // by which the client knows the Dockerfile's folder; "" with a remote context = it is in the context
	Args       map[string]*string
	Labels     map[string]string
	NoCache    bool
	Fresh      []string // stages that are not taken from the cache
	Pull       bool
	Platforms  []string
	Multi      bool // results by platform, even if it is one
	Network    string
	Hosts      []string // "name:address"
	ShmSize    int64
	Ulimits    []*units.Ulimit
	Cgroup     string
	Hostname   string
	Contexts   map[string]string // by name: where they are
	Sessions   map[string]string // by key of a folder: whose it is, if not the build's own
	Imports    []*wire.CacheEntry
	Inline     bool   // put the cache's keys into the image
	Call       string // a request other than to build: "frontend.lint", …
	Syntax     string // image of the front end that is asked for
	Provenance *asked // nil = none
	Scanner    string // image that scans the results; "" = none
	Attrs      map[string]string
}

// refused are attributes that change what is built and that nobody here carries out.
var refused = map[string]string{
	"device": "devices are not given to builds; build without --device",
}

// parse reads attributes. What it does not know does not change a build's outcome.
func parse(attrs map[string]string) (o options, err error) {
	o = options{Attrs: attrs, Filename: "Dockerfile", ContextKey: "context", FileKey: "dockerfile", Args: map[string]*string{}, Labels: map[string]string{}, Contexts: map[string]string{},
		Sessions: map[string]string{}}
	bad := func(name string, err error) error {
		return status.Errorf(codes.InvalidArgument, "read attribute %s=%q: %v", name, attrs[name], err)
	}
	_, fileKey := attrs["dockerfilekey"]
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		v := attrs[name]
		kind, rest, _ := strings.Cut(name, ":")
		var err error
		switch kind {
		case "filename":
			if v != "" {
				o.Filename = v
			}
		case "target":
			o.Target = v
		case "context":
			switch {
			case rest != "":
				o.Contexts[strings.ToLower(rest)] = v
			default:
				o.Remote = v
			}
		case "contextkey":
			o.ContextKey = v
		case "dockerfilekey":
			o.FileKey = v
		case "build-arg":
			o.Args[rest] = &v
		case "label":
			o.Labels[rest] = v
		case "no-cache":
			if o.NoCache = v == ""; !o.NoCache {
				o.Fresh = strings.Split(v, ",")
			}
		case "image-resolve-mode":
			o.Pull = v == "pull"
		case "platform":
			if v != "" {
				o.Platforms = strings.Split(v, ",")
			}
		case "multi-platform":
			o.Multi, err = strconv.ParseBool(v)
		case "force-network-mode":
			o.Network = v
		case "add-hosts":
			o.Hosts, err = hosts(v)
		case "shm-size":
			o.ShmSize, err = strconv.ParseInt(v, 10, 64)
		case "ulimit":
			o.Ulimits, err = ulimits(v)
		case "cgroup-parent":
			o.Cgroup = v
		case "hostname":
			o.Hostname = v
		case "local-sessionid":
			o.Sessions[rest] = v
		case "cache-imports":
			err = json.Unmarshal([]byte(v), &o.Imports)
		case "cache-from":
			for ref := range strings.SplitSeq(v, ",") {
				if ref != "" && attrs["cache-imports"] == "" {
					o.Imports = append(o.Imports, &wire.CacheEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
				}
			}
		case "requestid":
			o.Call = v
		case "source":
			o.Syntax = v
		case "attest", "device":
			for _, n := range []string{name, kind} {
				if why := refused[n]; why != "" && v != "disabled=true" {
					return o, status.Errorf(codes.Unimplemented, "%s: %s", name, why)
				}
			}
			switch name {
			case "attest:provenance":
				o.Provenance, err = parseProvenance(v)
			case "attest:sbom":
				if o.Scanner, err = parseSBOM(v); status.Code(err) == codes.Unimplemented {
					return o, err
				}
			}
		}
		if err != nil {
			return o, bad(name, err)
		}
	}
	if o.Remote != "" && !fileKey {
		o.FileKey = ""
	}
	if v := o.Args["BUILDKIT_INLINE_CACHE"]; v != nil {
		o.Inline, _ = strconv.ParseBool(*v)
	}
	if v := o.Args["BUILDKIT_MULTI_PLATFORM"]; v != nil {
		o.Multi, _ = strconv.ParseBool(*v)
	}
	asker := "the attribute source"
	if v := o.Args["BUILDKIT_SYNTAX"]; v != nil && o.Syntax == "" {
		o.Syntax, asker = *v, build.AskedSyntax
	}
	o.Multi = o.Multi || len(o.Platforms) > 1
	if err := build.CheckSyntax(o.Syntax, asker); err != nil {
		return o, status.Error(codes.Unimplemented, err.Error())
	}
	return o, nil
}

// hosts reads "name=address,name=address" as one line of CSV.
func hosts(v string) ([]string, error) {
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range fields {
		name, addr, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not NAME=ADDRESS", f)
		}
		out = append(out, name+":"+addr)
	}
	return out, nil
}

// ulimits reads "nofile=1024:2048,nproc=10" as one line of CSV.
func ulimits(v string) ([]*units.Ulimit, error) {
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return nil, err
	}
	var out []*units.Ulimit
	for _, f := range fields {
		u, err := units.ParseUlimit(f)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}
