// Package standalone runs a registry as a program of its own: a listener, a content store, users, certificates, collection of garbage.
//
// Below the data directory: content/ (blobs and repositories, see registry and engine/content), tls/ (the certificate that it makes itself), token.key
// (what it signs tokens with), lock and control.sock (one process at a time, and how Collect reaches it).
//
// The life of one: Start takes the lock and listens, Run serves until its context ends. cmd/nau imports it; it knows no engine beyond the content
// store and no cluster.
package standalone

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
	"nau/internal/registry"
)

// Config is what the command's flags say.
type Config struct {
	Addr       string
	DataDir    string
	TLSCert    string // files; read again when they change
	TLSKey     string
	TLSSelf    bool // make a certificate, and keep it in the data directory
	Auth       string
	Users      string // htpasswd file
	Realm      string // basic: shown to users; token: URL of a token server elsewhere, "" = this one
	Service    string
	Issuer     string
	TokenCert  string // of a token server elsewhere: PEM with its certificate or public key
	OpenReads  bool   // anonymous clients may pull
	MirrorOf   string // URL
	MirrorUser string // USER:PASSWORD
	ReadOnly   bool
	GCInterval time.Duration // 0 = only on demand
	Grace      time.Duration
	Log        *slog.Logger
}

// ErrConfig is the caller's fault.
var ErrConfig = errors.New("bad configuration")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
}

// Check reports what does not fit together.
func (c *Config) Check() error {
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return bad("--tls-cert and --tls-key go together")
	case c.TLSSelf && c.TLSCert != "":
		return bad("--tls-self makes a certificate: leave --tls-cert and --tls-key away")
	case c.Auth != "" && c.Auth != "none" && c.Auth != "basic" && c.Auth != "token":
		return bad("--auth %q: it is none, basic or token", c.Auth)
	case c.Auth == "basic" && c.Users == "":
		return bad("--auth basic needs --htpasswd FILE")
	case c.Auth == "token" && c.Realm == "" && c.Users == "":
		return bad("--auth token needs --htpasswd FILE, or --realm URL and --token-cert FILE of a token server elsewhere")
	case c.Auth == "token" && c.Realm != "" && c.TokenCert == "":
		return bad("--realm names a token server elsewhere: --token-cert FILE says what its tokens are signed with")
	case (c.Auth == "" || c.Auth == "none") && c.Users != "":
		return bad("--htpasswd without --auth basic or --auth token would be passed over")
	case c.GCInterval < 0:
		return bad("--gc-interval %s is negative", c.GCInterval)
	}
	if c.MirrorOf != "" {
		if u, err := url.Parse(c.MirrorOf); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
			return bad("--mirror-of %q: a URL such as https://registry-1.docker.io is needed", c.MirrorOf)
		}
	} else if c.MirrorUser != "" {
		return bad("--mirror-user without --mirror-of would be passed over")
	}
	return nil
}

// Server is a registry that listens.
type Server struct {
	cfg      Config
	lock     *os.File
	registry *registry.Registry
	listener net.Listener
	control  net.Listener
	tls      bool
}

// Start opens everything. Nothing is answered before Run.
func Start(c Config) (_ *Server, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.lock, err = lock(c.DataDir); err != nil {
		return nil, err
	}
	if s.registry, err = open(c); err != nil {
		return nil, err
	}
	config, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", c.Addr); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, bad("--addr %s: another program listens there", c.Addr)
		}
		var address *net.AddrError
		if errors.As(err, &address) {
			return nil, bad("--addr %s: %s; write HOST:PORT, or :PORT for all of this machine's addresses", c.Addr, address.Err)
		}
		return nil, fmt.Errorf("listen at %s: %w", c.Addr, err)
	}
	if config != nil {
		s.tls, s.listener = true, tls.NewListener(s.listener, config)
	}
	socket := controlPath(c.DataDir)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if s.control, err = net.Listen("unix", socket); err != nil {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	return s, os.Chmod(socket, 0o600)
}

// URL is where clients find it.
func (s *Server) URL() string {
	if s.tls {
		return "https://" + s.listener.Addr().String()
	}
	return "http://" + s.listener.Addr().String()
}

// Run serves until ctx ends, and lets running requests finish for a while.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errorLog := slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)
	server := &http.Server{Handler: s.registry, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: errorLog}
	control := &http.Server{Handler: s.commands(), ReadHeaderTimeout: time.Minute, ErrorLog: errorLog}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(s.listener) }()
	go func() { ended <- control.Serve(s.control) }()
	if s.cfg.GCInterval > 0 {
		go s.registry.CollectEvery(ctx, s.cfg.GCInterval)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	if e := server.Shutdown(stop); e != nil {
		_ = server.Close()
	}
	_ = control.Close()
	return errors.Join(err, s.Close())
}

// Close lets go of everything; the next Start finds it as it is.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.listener, s.control} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.registry != nil {
		errs = append(errs, s.registry.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.listener, s.control, s.registry, s.lock = nil, nil, nil, nil
	return errors.Join(errs...)
}

// errLocked says that a process has the data directory.
var errLocked = errors.New("another registry runs on this data directory")

// lock makes the data directory this process' own.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: --data-dir %s: %w", ErrConfig, dir, errLocked)
	}
	return f, nil
}

// open makes the registry that a configuration means.
func open(c Config) (*registry.Registry, error) {
	store, err := content.Open(filepath.Join(c.DataDir, "content"), c.Log)
	if err != nil {
		return nil, err
	}
	rc := registry.Config{Content: store, Deletes: true, Reads: c.ReadOnly || c.MirrorOf != "", Grace: c.Grace, Log: c.Log}
	if c.MirrorOf != "" {
		rc.Mirror = mirror(c)
	}
	if rc.Auth, err = auth(c); err != nil {
		return nil, err
	}
	return registry.New(rc)
}

func mirror(c Config) *registry.Mirror {
	u, _ := url.Parse(c.MirrorOf)
	config := remote.Config{UserAgent: "nau"}
	if u.Scheme == "http" {
		config.Insecure = []string{u.Host}
	}
	host := u.Host
	if host == "registry-1.docker.io" || host == "index.docker.io" {
		host = "docker.io"
	}
	m := &registry.Mirror{Client: remote.New(config), Default: host}
	if user, password := credentials(c.MirrorUser); user != "" {
		m.Creds = func(string) (remote.Auth, error) { return remote.Auth{Username: user, Password: password}, nil }
	}
	return m
}

func auth(c Config) (registry.Auth, error) {
	if c.Auth == "" || c.Auth == "none" {
		return nil, nil
	}
	var check func(user, password string) (func(registry.Access) bool, bool)
	if c.Users != "" {
		users, err := registry.OpenHtpasswd(c.Users)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		check = users.Users(c.OpenReads)
	}
	if c.Auth == "basic" {
		return &registry.BasicAuth{Realm: c.Realm, Check: check}, nil
	}
	t := &registry.TokenAuth{Realm: c.Realm, Service: c.Service, Issuer: c.Issuer, Check: check}
	var public crypto.PublicKey
	var err error
	if c.TokenCert != "" {
		public, err = readPublic(c.TokenCert)
	} else {
		var private crypto.Signer
		if private, err = signingKey(filepath.Join(c.DataDir, "token.key")); err == nil {
			t.Private, public = private, private.Public()
		}
	}
	if err != nil {
		return nil, err
	}
	t.Public = public
	if t.Method, err = methodOf(public); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return t, nil
}
