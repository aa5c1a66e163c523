package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// stream is a conversation over one connection. Source: git's "pack protocol" document, version 0.
type stream struct {
	in    io.WriteCloser
	out   io.Reader
	close func() error
	said  func() string // what the other side says besides; nil = nothing
}

func (s *stream) Close() error { return s.close() }

func (s *stream) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	ar := packp.NewAdvRefs()
	if err := ar.Decode(&limited{io.NopCloser(s.out), maxRefs}); err != nil {
		if s.said != nil {
			if text := s.said(); text != "" {
				return nil, fmt.Errorf("%w: the server says: %s", err, text)
			}
		}
		return nil, err
	}
	return ar, nil
}

func (s *stream) UploadPack(_ context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	var b bytes.Buffer
	if err := errors.Join(req.UploadRequest.Encode(&b), req.UploadHaves.Encode(&b, true), pktline.NewEncoder(&b).Encodef("done\n")); err != nil {
		return nil, err
	}
	if _, err := s.in.Write(b.Bytes()); err != nil {
		return nil, err
	}
	res := packp.NewUploadPackResponse(req)
	return res, res.Decode(&limited{io.NopCloser(s.out), maxPack})
}

// connect opens a connection that ends with ctx.
func connect(ctx context.Context, u *url.URL, port string) (net.Conn, func() error, error) {
	if p := u.Port(); p != "" {
		port = p
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, sync.OnceValue(func() error {
		stop()
		return conn.Close()
	}), nil
}

// overTCP speaks to a git daemon.
func overTCP(ctx context.Context, u *url.URL) (session, error) {
	conn, end, err := connect(ctx, u, "9418")
	if err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(conn).Encodef("git-upload-pack %s\x00host=%s\x00", u.Path, u.Host); err != nil {
		return nil, errors.Join(err, end())
	}
	return &stream{in: conn, out: conn, close: end}, nil
}

// overSSH runs the server's upload over SSH, with the keys of the build's agent.
func (c *checkout) overSSH(ctx context.Context, u *url.URL) (_ session, err error) {
	if c.opts.Agent == nil {
		return nil, fmt.Errorf("%w: an address by SSH needs an agent: build with --ssh default", ErrAddress)
	}
	keys, err := c.opts.Agent(ctx)
	if err != nil {
		return nil, fmt.Errorf("open SSH agent: %w", err)
	}
	conn, end, err := connect(ctx, u, "22")
	if err != nil {
		return nil, errors.Join(err, keys.Close())
	}
	shut := sync.OnceValue(func() error { return errors.Join(end(), keys.Close()) })
	defer func() {
		if err != nil {
			_ = shut() // the first error tells more
		}
	}()
	user := u.User.Username()
	if user == "" {
		user = "git"
	}
	cfg := &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(agent.NewClient(keys).Signers)}, HostKeyCallback: hosts{c.opts.KnownHosts}.check}
	inner, chans, reqs, err := ssh.NewClientConn(conn, net.JoinHostPort(u.Hostname(), portOr(u, "22")), cfg)
	if err != nil {
		return nil, err
	}
	s, err := ssh.NewClient(inner, chans, reqs).NewSession()
	if err != nil {
		return nil, err
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	said := &tail{}
	s.Stderr = said
	if err := s.Start("git-upload-pack " + quote(u.Path)); err != nil {
		return nil, err
	}
	return &stream{in: in, out: out, close: shut, said: func() string {
		_ = s.Wait() // what is said has come by then
		return said.text()
	}}, nil
}

func portOr(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		return p
	}
	return port
}

// quote makes one word of a text for a shell.
func quote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}

// tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-1024):]
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// hosts are the keys of servers in a file, in the format of OpenSSH's known_hosts.
type hosts struct{ file string }

// adding is held while a key is added.
var adding sync.Mutex

// check lets pass a key that is known, and notes that of a server that is new.
func (h hosts) check(host string, remote net.Addr, key ssh.PublicKey) error {
	if h.file == "" {
		return fmt.Errorf("%w: there is no file of known SSH hosts", ErrAddress)
	}
	adding.Lock()
	defer adding.Unlock()
	f, err := os.OpenFile(h.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open known SSH hosts: %w", err)
	}
	defer f.Close()
	known, err := knownhosts.New(h.file)
	if err != nil {
		return fmt.Errorf("read known SSH hosts %s: %w", h.file, err)
	}
	err = known(host, remote, key)
	var other *knownhosts.KeyError
	if !errors.As(err, &other) {
		return err
	}
	for _, w := range other.Want {
		if w.Key.Type() == key.Type() {
			return fmt.Errorf("%w: the SSH key of %s has changed: if that is right, remove line %d of %s", ErrRefused, host, w.Line, h.file)
		}
	}
	if _, err := fmt.Fprintln(f, knownhosts.Line([]string{host}, key)); err != nil {
		return fmt.Errorf("note SSH key of %s: %w", host, err)
	}
	return f.Sync()
}
