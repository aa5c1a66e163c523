// Package hook calls out: it posts a document to a webhook that an administrator has declared, by URL or by service, over TLS
// that the declared bundle or the host's roots vouch for, and reads the answer within bounds.
//
// It knows neither what is asked nor what the answer means. Admission webhooks and conversion of custom resources import it.
package hook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// Target says where a webhook is, as clientConfig declares it.
type Target struct {
	URL             string // or:
	Namespace, Name string
	Port            int32 // 0 means 443
	Path            string
	CABundle        []byte
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 10 << 20

// Caller keeps connections to webhooks.
type Caller struct {
	services corelisters.ServiceLister
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	mu       sync.Mutex
	clients  map[[32]byte]*http.Client // by trust and destination
}

// New makes a caller. Services are reached by their cluster addresses.
func New(services corelisters.ServiceLister) *Caller {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &Caller{services: services, dial: d.DialContext, clients: map[[32]byte]*http.Client{}}
}

// maxClients bounds the kept clients; declarations that changed leave theirs behind.
const maxClients = 256

func (c *Caller) client(t *Target) (*http.Client, error) {
	id := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %x", t.URL, t.Namespace, t.Name, t.Port, sha256.Sum256(t.CABundle)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.clients[id]; have != nil {
		return have, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(t.CABundle) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(t.CABundle) {
			return nil, errors.New("read caBundle: unable to load root certificates: no PEM certificate in it")
		}
	}
	transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, DialContext: c.dial,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10}
	if t.Name != "" {
		conf.ServerName = t.Name + "." + t.Namespace + ".svc"
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			address, err := c.resolve(t)
			if err != nil {
				return nil, err
			}
			return c.dial(ctx, network, address)
		}
	}
	if len(c.clients) >= maxClients {
		for id, old := range c.clients {
			old.CloseIdleConnections()
			delete(c.clients, id)
		}
	}
	made := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	c.clients[id] = made
	return made, nil
}

// resolve finds the address of a service's port.
func (c *Caller) resolve(t *Target) (string, error) {
	svc, err := c.services.Services(t.Namespace).Get(t.Name)
	if err != nil {
		return "", err
	}
	port := strconv.Itoa(int(t.port()))
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return net.JoinHostPort(svc.Spec.ExternalName, port), nil
	case svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone:
		return "", fmt.Errorf("service %s/%s has no cluster IP to reach the webhook at", t.Namespace, t.Name)
	}
	for _, p := range svc.Spec.Ports {
		if p.Port == t.port() {
			return net.JoinHostPort(svc.Spec.ClusterIP, port), nil
		}
	}
	return "", fmt.Errorf("no service port %d found for service %q", t.port(), t.Name)
}

func (t *Target) port() int32 {
	if t.Port == 0 {
		return 443
	}
	return t.Port
}

// address is the URL to post to.
func (t *Target) address(timeout time.Duration) (string, error) {
	u := &url.URL{Scheme: "https", Host: net.JoinHostPort(t.Name+"."+t.Namespace+".svc", strconv.Itoa(int(t.port()))), Path: t.Path}
	if t.Name == "" {
		var err error
		if u, err = url.Parse(t.URL); err != nil {
			return "", fmt.Errorf("read url: %w", err)
		}
		if u.Scheme != "https" {
			return "", fmt.Errorf("url %q: the scheme must be https", t.URL)
		}
	}
	if timeout > 0 {
		q := u.Query()
		q.Set("timeout", timeout.String())
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

// Post sends a JSON document and returns the answer's body. A timeout bounds the whole exchange; 0 leaves that to ctx.
func (c *Caller) Post(ctx context.Context, t *Target, timeout time.Duration, doc []byte) ([]byte, error) {
	client, err := c.client(t)
	if err != nil {
		return nil, err
	}
	address, err := t.address(timeout)
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(doc))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, */*")
	r.Header.Set("User-Agent", "kube-apiserver-admission")
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", address, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("read answer of %s: it is longer than %d bytes", address, maxAnswer)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, &StatusError{Code: resp.StatusCode, Body: body}
	}
	return body, nil
}

// StatusError is an answer that is no answer.
type StatusError struct {
	Code int
	Body []byte
}

func (e *StatusError) Error() string {
	text := string(e.Body)
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	if text == "" {
		return fmt.Sprintf("the server answered %d %s", e.Code, http.StatusText(e.Code))
	}
	return fmt.Sprintf("the server answered %d %s: %s", e.Code, http.StatusText(e.Code), text)
}
