package buildkit

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
	"nau/internal/engine/record"
)

// defined is what a definition of low-level steps comes to: of those, the ones that name one source are understood.
type defined struct {
	image      string // a result of this builder
	address    string // of a repository or an archive
	repository bool
}

// Fields of a step: its work on files, and where it may run; those between are other kinds of work. Source: the protocol's ops.proto.
const (
	fieldFile     = 4
	fieldPlatform = 10
)

// define reads a definition: a result of this builder, a repository, or an address with what unpacks it.
func define(def *wire.Definition) (d defined, err error) {
	for _, b := range def.Def {
		var op wire.Op
		if err := proto.Unmarshal(b, &op); err != nil {
			return d, status.Errorf(codes.InvalidArgument, "read definition: %v", err)
		}
		other := status.Error(codes.Unimplemented, "this builder takes Dockerfiles, not definitions of steps")
		if op.Source == nil {
			// The last one only names the others; an archive is followed by the step that unpacks it.
			if unknown := op.ProtoReflect().GetUnknown(); len(unknown) > 0 && (!onlyFile(unknown) || d.address == "" || d.repository) {
				return d, other
			}
			continue
		}
		if d != (defined{}) {
			return d, other
		}
		id := op.Source.Identifier
		scheme, rest, _ := strings.Cut(id, "://")
		switch scheme {
		case "nau-result":
			d.image = rest
		case "http", "https":
			d.address = id
		case "git":
			if d.address, err = repositoryOf(rest, op.Source.Attrs); err != nil {
				return d, err
			}
			d.repository = true
		default:
			return d, status.Errorf(codes.Unimplemented, "source %s: this builder takes Dockerfiles, not definitions of steps", id)
		}
	}
	if d == (defined{}) {
		return d, status.Error(codes.InvalidArgument, "the definition is empty")
	}
	return d, nil
}

// onlyFile tells whether the fields of a step that are not known here are those of one that works on files, and where it may run.
func onlyFile(b []byte) bool {
	file := false
	for len(b) > 0 {
		n, _, size := protowire.ConsumeField(b)
		if size < 0 || n > fieldFile && n < fieldPlatform || n < fieldFile {
			return false
		}
		file = file || n == fieldFile
		b = b[size:]
	}
	return file
}

// repositoryOf makes an address of a source of the kind git: where it is, and what of it. Source: the protocol's attr.go.
func repositoryOf(id string, attrs map[string]string) (string, error) {
	where, fragment, _ := strings.Cut(id, "#")
	where = "https://" + where
	q := url.Values{}
	ref, subdir, _ := strings.Cut(fragment, ":")
	for k, v := range map[string]string{"ref": ref, "subdir": subdir} {
		if v != "" {
			q.Set(k, v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		v := attrs[k]
		switch k {
		case "git.fullurl":
			where = v
		case "git.keepgitdir":
			q.Set("keep-git-dir", v)
		case "git.mtime":
			q.Set("mtime", v)
		case "git.checksum":
			q.Set("checksum", v)
		case "git.skipsubmodules":
			skip, err := strconv.ParseBool(v)
			if err != nil {
				return "", status.Errorf(codes.InvalidArgument, "read %s=%q: %v", k, v, err)
			}
			q.Set("submodules", strconv.FormatBool(!skip))
		case "git.authtokensecret", "git.authheadersecret":
			if v != "GIT_AUTH_TOKEN" && v != "GIT_AUTH_HEADER" {
				return "", status.Errorf(codes.Unimplemented, "%s=%s: the secret must be called GIT_AUTH_TOKEN or GIT_AUTH_HEADER", k, v)
			}
		case "git.knownsshhosts": // the builder remembers servers itself
		case "git.mountsshsock":
			if v != "default" {
				return "", status.Errorf(codes.Unimplemented, "%s=%s: the agent must be called default", k, v)
			}
		default:
			return "", status.Errorf(codes.Unimplemented, "%s=%s is not served by this builder", k, v)
		}
	}
	if len(q) > 0 {
		where += "?" + q.Encode()
	}
	return where, nil
}

// defined makes a result of a definition.
func (s *Server) defined(j *job, def *wire.Definition) (*result, error) {
	d, err := define(def)
	if err != nil {
		return nil, err
	}
	if d.image != "" {
		return s.reuse(j, d.image)
	}
	dir, release, err := s.cfg.Builder.Scratch()
	if err != nil {
		return nil, err
	}
	j.later(release)
	f := &frontend{s: s, j: j, session: j.req.Session, t: newTeller(j, "")}
	if _, _, err := f.bring(d, dir); err != nil {
		return nil, err
	}
	r := &result{id: record.NewID(), dir: dir, def: def}
	return r, j.keep(r)
}

// remoteFiles fills a folder from an address, with what the client has for it.
func (f *frontend) remoteFiles(d defined, dir string) ([]byte, build.Material, error) {
	c, err := f.s.clientOf(f.j, f.session)
	if err != nil {
		return nil, build.Material{}, err
	}
	req := build.Request{Args: f.o.Args, Secret: c.secret, Agent: c.agent}
	if d.repository {
		from, err := f.s.cfg.Builder.Repository(f.j.ctx, d.address, dir, req)
		return nil, from, err
	}
	return f.s.cfg.Builder.Remote(f.j.ctx, d.address, dir, req)
}
