package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"
)

type tokenKey struct {
	host, service, scope string
	auth                 Auth
}

type token struct {
	value   string
	expires time.Time
}

// challenge is one WWW-Authenticate header (RFC 9110 section 11.6.1).
type challenge struct {
	scheme string // lower case
	params map[string]string
}

// parseChallenge reads a header value with one challenge; quoted strings may have commas and escapes.
func parseChallenge(h string) challenge {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(h), " ")
	c := challenge{scheme: strings.ToLower(scheme), params: map[string]string{}}
	for rest != "" {
		rest = strings.TrimLeft(rest, " ,\t")
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		key = strings.ToLower(strings.TrimSpace(key))
		var value strings.Builder
		if strings.HasPrefix(after, `"`) {
			i := 1
			for ; i < len(after) && after[i] != '"'; i++ {
				if after[i] == '\\' && i+1 < len(after) {
					i++
				}
				value.WriteByte(after[i])
			}
			rest = after[min(i+1, len(after)):]
		} else {
			v, more, _ := strings.Cut(after, ",")
			value.WriteString(strings.TrimSpace(v))
			rest = more
		}
		c.params[key] = value.String()
	}
	return c
}

// authorize answers a 401: the value of the Authorization header for the next try. scope is what the request needs; the challenge's own wins.
func (c *Client) authorize(ctx context.Context, resp *http.Response, auth Auth, scope string) (string, error) {
	var basic, bearer *challenge
	for _, h := range resp.Header.Values("WWW-Authenticate") {
		switch ch := parseChallenge(h); ch.scheme {
		case "basic":
			basic = &ch
		case "bearer":
			bearer = &ch
		}
	}
	switch {
	case bearer != nil && auth.RegistryToken != "":
		return "Bearer " + auth.RegistryToken, nil
	case bearer != nil:
		if s := bearer.params["scope"]; s != "" {
			scope = mergeScopes(scope, s)
		}
		t, err := c.token(ctx, resp.Request.URL, bearer.params["realm"], bearer.params["service"], scope, auth)
		if err != nil {
			return "", err
		}
		return "Bearer " + t, nil
	case basic != nil && auth.Username != "":
		return basicHeader(auth), nil
	}
	return "", nil
}

func mergeScopes(a, b string) string {
	all := map[string]struct{}{}
	for _, s := range append(strings.Fields(a), strings.Fields(b)...) {
		all[s] = struct{}{}
	}
	out := make([]string, 0, len(all))
	for s := range all {
		out = append(out, s)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func basicHeader(a Auth) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(a.Username, a.Password)
	return r.Header.Get("Authorization")
}

// token asks a token server (distribution's token authentication; OAuth2 where there is a refresh token).
func (c *Client) token(ctx context.Context, from *url.URL, realm, service, scope string, auth Auth) (string, error) {
	key := tokenKey{from.Host, service, scope, auth}
	c.mu.Lock()
	t, ok := c.tokens[key]
	c.mu.Unlock()
	if ok && time.Now().Before(t.expires) {
		return t.value, nil
	}
	u, err := url.Parse(realm)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("ask for a token: bad realm %q", realm)
	}
	if u.Scheme == "http" && !c.insecure(u.Host) && !(from.Scheme == "http" && from.Host == u.Host) {
		return "", fmt.Errorf("ask for a token: realm %q is not HTTPS", realm)
	}
	var req *http.Request
	if auth.IdentityToken != "" {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {auth.IdentityToken}, "service": {service}, "client_id": {c.cfg.UserAgent}}
		if scope != "" {
			form.Set("scope", scope)
		}
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	} else {
		q := u.Query()
		if service != "" {
			q.Set("service", service)
		}
		for _, s := range strings.Fields(scope) {
			q.Add("scope", s)
		}
		if auth.Username != "" {
			q.Set("account", auth.Username)
		}
		u.RawQuery = q.Encode()
		req, err = http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err == nil && auth.Username != "" {
			req.SetBasicAuth(auth.Username, auth.Password)
		}
	}
	if err != nil {
		return "", fmt.Errorf("ask for a token: %w", err)
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	resp, err := c.httpClient(u.Host).Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for a token: %w", unreachable(ctx, err))
	}
	if resp.StatusCode != http.StatusOK {
		e := refused(resp)
		e.Token, e.Anonymous = true, auth.Username == ""
		if e.Status == http.StatusBadRequest { // some token servers answer wrong passwords so
			return "", fmt.Errorf("ask for a token: %w: %w", ErrUnauthorized, e)
		}
		return "", fmt.Errorf("ask for a token: %w", e)
	}
	defer resp.Body.Close()
	var body struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body); err != nil {
		return "", fmt.Errorf("ask for a token: read answer: %w", err)
	}
	t = token{value: body.Token}
	if t.value == "" {
		t.value = body.AccessToken
	}
	if t.value == "" {
		return "", fmt.Errorf("ask for a token: %w", errNoToken)
	}
	// A token without expiry lasts a minute (token authentication specification). A tenth is kept in hand for clocks.
	life := time.Duration(max(body.ExpiresIn, 60)) * time.Second
	t.expires = time.Now().Add(life - life/10)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tokens) > 1000 {
		clear(c.tokens)
	}
	c.tokens[key] = t
	return t.value, nil
}

// remember keeps the Authorization value that worked for a host and scope, so that the next request need not be refused first.
func (c *Client) remember(host, scope string, auth Auth, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[tokenKey{host, "\x00header", scope, auth}] = token{value: value, expires: time.Now().Add(50 * time.Second)}
}

func (c *Client) remembered(host, scope string, auth Auth) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tokens[tokenKey{host, "\x00header", scope, auth}]
	if !ok || time.Now().After(t.expires) {
		return ""
	}
	return t.value
}

// Login checks credentials against a registry host. ErrUnauthorized if it does not take them.
func (c *Client) Login(ctx context.Context, host string, auth Auth) error {
	r, err := c.Repository(host, "", auth)
	if err != nil {
		return err
	}
	_, err = r.tryEndpoints(ctx, func(e endpoint) error {
		resp, err := r.send(ctx, e, http.MethodGet, "", nil, nil, "")
		if err != nil {
			return err
		}
		resp.Body.Close()
		return nil
	})
	return err
}
