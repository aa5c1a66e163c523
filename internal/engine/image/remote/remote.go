// Package remote is a small client of OCI distribution registries (distribution-spec 1.1, and docker's dialect of it): manifests, blobs with
// resume, uploads, tokens, mirrors.
//
// It keeps nothing on disk and knows nothing of images: engine/image pulls and pushes with it, internal/registry mirrors with it.
package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Kinds of errors; test with errors.Is. An *Error (errors.As) has the registry's own words.
var (
	ErrUnauthorized    = errors.New("unauthorized")
	ErrManifestUnknown = errors.New("manifest unknown")
	ErrUnreachable     = errors.New("registry unreachable")
	ErrCorrupt         = errors.New("content does not match its digest")
)

// Config says how registry hosts are reached. Loopback addresses are always allowed over plain HTTP.
type Config struct {
	Insecure  []string            // hosts ("host", "host:port") and CIDRs: HTTP allowed, certificates not verified
	Mirrors   map[string][]string // host ("docker.io", "*") → endpoint URLs, tried in order before the host itself
	CAs       map[string][]byte   // host → PEM of extra roots
	UserAgent string
	Proxy     func(*http.Request) (*url.URL, error) // nil = the environment's
}

// Auth is what a registry wants to see. The zero value is anonymous.
type Auth struct {
	Username, Password string
	IdentityToken      string // OAuth2 refresh token
	RegistryToken      string // bearer token, used as it is
}

// Client is safe for concurrent use.
type Client struct {
	cfg  Config
	nets []*net.IPNet

	mu         sync.Mutex
	transports map[string]*http.Transport // by host of CAs, "" plain, "!" unverified
	schemes    map[string]string          // host → scheme that worked, where two are allowed
	tokens     map[tokenKey]token
}

// New makes a client.
func New(cfg Config) *Client {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "nau"
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	c := &Client{cfg: cfg, transports: map[string]*http.Transport{}, schemes: map[string]string{}, tokens: map[tokenKey]token{}}
	for _, s := range cfg.Insecure {
		if _, n, err := net.ParseCIDR(s); err == nil {
			c.nets = append(c.nets, n)
		}
	}
	return c
}

// Close closes idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// loopback tells whether host ("name", "name:port") is this machine itself.
func loopback(host string) bool {
	h := hostname(host)
	if h == "localhost" {
		return true
	}
	ip := net.ParseIP(h)
	return ip != nil && ip.IsLoopback()
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

func (c *Client) insecure(host string) bool {
	if loopback(host) {
		return true
	}
	name := hostname(host)
	for _, s := range c.cfg.Insecure {
		if s == host || s == name {
			return true
		}
	}
	if ip := net.ParseIP(name); ip != nil {
		for _, n := range c.nets {
			if n.Contains(ip) {
				return true
			}
		}
	}
	return false
}

// endpoint is one base URL that can answer for a registry host.
type endpoint struct {
	base   url.URL // scheme, host and path prefix; "/v2/" follows
	mirror string  // the registry host it stands for, "" = itself
}

// endpoints lists where host's repositories can be found, mirrors first.
func (c *Client) endpoints(host string) ([]endpoint, error) {
	var all []endpoint
	mirrors := c.cfg.Mirrors[host]
	if mirrors == nil {
		mirrors = c.cfg.Mirrors["*"]
	}
	for _, m := range mirrors {
		if !strings.Contains(m, "://") {
			m = "https://" + m
		}
		u, err := url.Parse(m)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("read mirror %q of %s: not an http or https URL", m, host)
		}
		u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v2")
		all = append(all, endpoint{base: *u, mirror: host})
	}
	real := host
	if host == "docker.io" || host == "index.docker.io" {
		real = "registry-1.docker.io"
	}
	for _, scheme := range c.schemesOf(real) {
		all = append(all, endpoint{base: url.URL{Scheme: scheme, Host: real}})
	}
	return all, nil
}

// schemesOf: HTTP comes first on loopback, where nobody listens in and registries mostly speak it; elsewhere never unless listed.
func (c *Client) schemesOf(host string) []string {
	if !c.insecure(host) {
		return []string{"https"}
	}
	c.mu.Lock()
	known := c.schemes[host]
	c.mu.Unlock()
	if known != "" {
		return []string{known}
	}
	if loopback(host) {
		return []string{"http", "https"}
	}
	return []string{"https", "http"}
}

func (c *Client) works(host, scheme string) {
	if !c.insecure(host) {
		return
	}
	c.mu.Lock()
	c.schemes[host] = scheme
	c.mu.Unlock()
}

func (c *Client) doubtScheme(host string) {
	c.mu.Lock()
	delete(c.schemes, host)
	c.mu.Unlock()
}

func (c *Client) httpClient(host string) *http.Client {
	key := ""
	if c.insecure(host) {
		key = "!"
	}
	pem := c.cfg.CAs[host]
	if pem != nil {
		key = host
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.transports[key]
	if !ok {
		tc := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: key == "!"}
		if pem != nil {
			pool, err := x509.SystemCertPool()
			if err != nil {
				pool = x509.NewCertPool()
			}
			pool.AppendCertsFromPEM(pem)
			tc.RootCAs = pool
		}
		t = &http.Transport{
			Proxy:                 c.cfg.Proxy,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       tc,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: 60 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			MaxIdleConnsPerHost:   8,
			ForceAttemptHTTP2:     true,
			DisableCompression:    true,
			ReadBufferSize:        128 << 10,
			WriteBufferSize:       128 << 10,
		}
		c.transports[key] = t
	}
	return &http.Client{Transport: t, CheckRedirect: c.checkRedirect}
}

// checkRedirect: content is proven by digest, so a redirect may lead anywhere, but never from HTTPS to plain HTTP. net/http drops the
// Authorization header when the host changes.
func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("too many redirects")
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" && !c.insecure(req.URL.Host) {
		return fmt.Errorf("redirect from https to %s://%s refused", req.URL.Scheme, req.URL.Host)
	}
	return nil
}

// sleep waits, unless the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
