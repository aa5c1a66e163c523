package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/session/upload"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"nau/internal/engine/build"
	"nau/internal/engine/image"
)

// client is what a build may ask of the client that started it.
type client struct {
	session.Caller                                        // nil: there is none
	known          func(host string) (*image.Auth, error) // its credentials then
}

func (s *Server) client(ctx context.Context, id string) (*client, error) {
	if id == "" {
		return nil, status.Error(codes.InvalidArgument, "the build has no session: its client must open one")
	}
	c, err := s.sessions.Get(ctx, id, false)
	if err != nil {
		return nil, fmt.Errorf("find session of the build: %w", err)
	}
	return &client{Caller: c}, nil
}

// wanted says which files of a client's folder are to come.
type wanted struct {
	key     string   // of the folder
	only    []string // patterns; nil = all
	without []string // patterns
	follow  []string // paths that are needed, with what their links lead to; nil = all
}

// files brings files of a client's folder.
func (c *client) files(ctx context.Context, dest string, w wanted, progress func(bytes int, done bool)) error {
	err := filesync.FSSync(ctx, c.Caller, filesync.FSSendRequestOpt{Name: w.key, IncludePatterns: w.only, ExcludePatterns: w.without, FollowPaths: w.follow, DestDir: dest, ProgressCb: progress})
	if err != nil {
		return fmt.Errorf("read folder %s of the client: %w", w.key, err)
	}
	return nil
}

// uploaded is the address that stands for an archive that the client reads from its standard input.
const uploaded = "http://buildkit-session/"

// archive reads an archive that the client uploads.
func (c *client) archive(ctx context.Context, address string) (io.ReadCloser, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	up, err := upload.New(ctx, c.Caller, u)
	if err != nil {
		return nil, fmt.Errorf("read archive of the client: %w", err)
	}
	r, w := io.Pipe()
	go func() {
		_, err := up.WriteTo(w)
		w.CloseWithError(err)
	}()
	return r, nil
}

// secret reads a secret; build.ErrNoSecret if the client has none of that ID.
func (c *client) secret(ctx context.Context, id string) ([]byte, error) {
	if c.Caller == nil {
		return nil, fmt.Errorf("secret %s: %w", id, build.ErrNotGiven)
	}
	b, err := secrets.GetSecret(ctx, c.Caller, id)
	if errors.Is(err, secrets.ErrNotFound) {
		return nil, fmt.Errorf("secret %s: %w", id, build.ErrNotGiven)
	}
	return b, err
}

// agent forwards the client's SSH agent to a socket in dir.
func (c *client) agent(ctx context.Context, id string, at build.Socket) (func() error, error) {
	if c.Caller == nil {
		return nil, fmt.Errorf("agent %s: %w", id, build.ErrNotGiven)
	}
	if err := sshforward.CheckSSHID(ctx, c.Caller, id); err != nil {
		if code := status.Code(errors.Unwrap(err)); code == codes.Unavailable || code == codes.DeadlineExceeded {
			return nil, err
		}
		return nil, fmt.Errorf("agent %s: %w", id, build.ErrNotGiven)
	}
	return build.Listen(ctx, at, func(ctx context.Context, conn net.Conn) {
		stream, err := sshforward.NewSSHClient(c.Conn()).ForwardAgent(metadata.AppendToOutgoingContext(ctx, sshforward.KeySSHID, id))
		if err == nil {
			_ = sshforward.Copy(ctx, conn, stream, stream.CloseSend) // the agent's own protocol tells of what went wrong
		}
	})
}

// credentials asks the client for what it knows of a registry.
func (c *client) credentials(ctx context.Context) func(host string) (*image.Auth, error) {
	if c.Caller == nil {
		return c.known
	}
	return func(host string) (*image.Auth, error) {
		if host == "docker.io" {
			host = "registry-1.docker.io"
		}
		res, err := auth.NewAuthClient(c.Conn()).Credentials(ctx, &auth.CredentialsRequest{Host: host})
		if status.Code(err) == codes.Unimplemented {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("ask the client for credentials of %s: %w", host, err)
		}
		switch {
		case res.Secret == "":
			return nil, nil
		case res.Username == "":
			return &image.Auth{IdentityToken: res.Secret}, nil
		}
		return &image.Auth{Username: res.Username, Password: res.Secret}, nil
	}
}

// relative is a path of the client as it is below a folder: nothing leads out.
func relative(name string) string {
	return strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(name)), "/")
}
