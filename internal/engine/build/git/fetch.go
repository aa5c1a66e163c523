package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	smart "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// What a server may send.
const (
	maxRefs = 64 << 20 // bytes of its list of names
	maxPack = 4 << 30  // bytes of a pack
)

// session is one conversation with a server: its list of names, then one pack.
type session interface {
	AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error)
	UploadPack(context.Context, *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	Close() error
}

// dial begins a conversation.
func (c *checkout) dial(ctx context.Context, src Source) (session, error) {
	switch src.URL.Scheme {
	case "ssh":
		return c.overSSH(ctx, src.URL)
	case "git":
		return overTCP(ctx, src.URL)
	}
	client := http.Client{}
	if c.opts.Client != nil {
		client = *c.opts.Client
	}
	client.Transport = bounded{client.Transport}
	ep, err := transport.NewEndpoint(src.URL.String())
	if err != nil {
		return nil, err
	}
	auth, err := c.authorization(ctx, src.URL)
	if err != nil {
		return nil, err
	}
	if auth == nil { // not a nil within an interface
		return smart.NewClient(&client).NewUploadPackSession(ep, nil)
	}
	return smart.NewClient(&client).NewUploadPackSession(ep, auth)
}

// fetch brings what a source means into a store.
func (c *checkout) fetch(ctx context.Context, src Source, st *store) (choice, error) {
	s, err := c.dial(ctx, src)
	if err != nil {
		return choice{}, refusal(err)
	}
	defer s.Close()
	ar, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		return choice{}, fmt.Errorf("read names of the repository: %w", refusal(err))
	}
	ch, err := choose(src.Ref, ar)
	if err != nil {
		return choice{}, err
	}
	req := packp.NewUploadPackRequest()
	set := func(name capability.Capability, values ...string) error {
		if !ar.Capabilities.Supports(name) {
			return nil
		}
		return req.Capabilities.Set(name, values...)
	}
	errs := []error{set(capability.OFSDelta), set(capability.Sideband64k), set(capability.NoProgress)}
	if !ch.whole && ar.Capabilities.Supports(capability.Shallow) {
		errs = append(errs, set(capability.Shallow))
		req.Depth = packp.DepthCommits(1)
	}
	if err := errors.Join(errs...); err != nil {
		return choice{}, err
	}
	req.Wants = ch.wants
	res, err := s.UploadPack(ctx, req)
	if err != nil {
		return choice{}, fmt.Errorf("ask for %s: %w", ch.want, refusal(err))
	}
	defer res.Close()
	var pack io.Reader = res
	if req.Capabilities.Supports(capability.Sideband64k) {
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	}
	if err := st.receive(ctx, pack, req.Capabilities.Supports(capability.OFSDelta)); err != nil {
		return choice{}, fmt.Errorf("read pack: %w", err)
	}
	return ch, st.shallow(res.Shallows)
}

// refusal words what a server answers, with what to do.
func refusal(err error) error {
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return fmt.Errorf("%w: give the build a secret GIT_AUTH_TOKEN or GIT_AUTH_HEADER, or an agent for an address by SSH", err)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// header is the credential of a request.
type header string

func (h header) Name() string              { return "header" }
func (h header) String() string            { return "header: ***" }
func (h header) SetAuth(req *http.Request) { req.Header.Set("Authorization", string(h)) }

// authorization is what the build has for a server: a header of its own, or a token.
func (c *checkout) authorization(ctx context.Context, u *url.URL) (smart.AuthMethod, error) {
	if c.opts.Secret == nil {
		return nil, nil
	}
	ids := []string{"GIT_AUTH_HEADER." + u.Host, "GIT_AUTH_TOKEN." + u.Host}
	if origin(u) == c.home {
		ids = append(ids, "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN")
	}
	for _, id := range ids {
		b, err := c.opts.Secret(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("read secret %s: %w", id, err)
		}
		if b = bytes.TrimSpace(b); len(b) == 0 {
			continue
		}
		if bytes.ContainsAny(b, "\r\n") {
			return nil, fmt.Errorf("%w: secret %s has more than one line", ErrAddress, id)
		}
		if strings.HasPrefix(id, "GIT_AUTH_TOKEN") {
			return header("Basic " + base64.StdEncoding.EncodeToString(append([]byte("x-access-token:"), b...))), nil
		}
		return header(b), nil
	}
	return nil, nil
}

// origin is the server of an address and how it is spoken to.
func origin(u *url.URL) string { return u.Scheme + "://" + strings.ToLower(u.Host) }

// bounded lets no answer be larger than what it is for.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	res, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	limit := int64(maxPack)
	if req.Method == http.MethodGet {
		limit = maxRefs
	}
	res.Body = &limited{res.Body, limit}
	return res, nil
}

// limited is a body that ends in an error when it is too large.
type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("%w: the server's answer is too large", ErrRefused)
	}
	return n, err
}

// shallow notes where history was cut off.
func (s *store) shallow(list []plumbing.Hash) error {
	if len(list) == 0 {
		return nil
	}
	return s.SetShallow(list)
}
