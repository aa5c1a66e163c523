package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Error is a registry's refusal, with its own words (distribution-spec, "Error Codes").
type Error struct {
	Host   string
	Method string
	Path   string
	Status int
	Codes  []Code
	Body   string // the beginning, where it was not the spec's JSON
	URL    string // all of what was asked for

	NoCredentials bool // HTTP's basic authentication is wanted, and there was nothing to give
	Token         bool // it is a token that was not given, to a client that named itself or, Anonymous, did not
	Anonymous     bool
	scope         bool // a token was given that is not good for this
}

// errNoToken is in Docker's words, which people search for.
var errNoToken = errors.New("authorization server did not include a token in the response")

// Code is one entry of the spec's error body.
type Code struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

func (e *Error) Error() string {
	var said []string
	for _, c := range e.Codes {
		s := strings.ToLower(strings.ReplaceAll(c.Code, "_", " "))
		if c.Message != "" {
			s += ": " + c.Message
		}
		said = append(said, s)
	}
	if len(said) == 0 {
		said = append(said, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%s %s%s: %d: %s", e.Method, e.Host, e.Path, e.Status, strings.Join(said, "; "))
}

// Asked is the request, in the words of net/http.
func (e *Error) Asked() string {
	method := "GET"
	if e.Method != "" {
		method = e.Method
	}
	return fmt.Sprintf("%s%s %q", method[:1], strings.ToLower(method[1:]), e.URL)
}

// Code is the first of the spec's codes, or the one that the status stands for.
func (e *Error) Code() string {
	switch {
	case e.scope:
		return "DENIED"
	case len(e.Codes) > 0:
		return e.Codes[0].Code
	}
	switch e.Status {
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "DENIED"
	case http.StatusTooManyRequests:
		return "TOOMANYREQUESTS"
	}
	return "UNKNOWN"
}

// Said is the code with the words that came with it.
func (e *Error) Said() string {
	words := e.Body
	if len(e.Codes) > 0 {
		words = e.Codes[0].Message
	}
	code := strings.ToLower(strings.ReplaceAll(e.Code(), "_", " "))
	if words == "" {
		return code
	}
	return code + ": " + words
}

// Unwrap tells the kind.
func (e *Error) Unwrap() error {
	for _, c := range e.Codes {
		switch c.Code {
		case "UNAUTHORIZED", "DENIED":
			return ErrUnauthorized
		case "MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN":
			return ErrManifestUnknown
		}
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrUnauthorized
	case http.StatusNotFound:
		return ErrManifestUnknown
	}
	return nil
}

// temporary tells whether the same request may work a moment later.
func (e *Error) temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status >= 500 && e.Status != http.StatusNotImplemented
}

// refused reads the answer of a request that did not go well, and closes it.
func refused(resp *http.Response) *Error {
	defer resp.Body.Close()
	e := &Error{Host: resp.Request.URL.Host, Method: resp.Request.Method, Path: resp.Request.URL.Path, Status: resp.StatusCode, URL: resp.Request.URL.String()}
	for _, h := range resp.Header.Values("WWW-Authenticate") {
		ch := parseChallenge(h)
		e.NoCredentials = ch.scheme == "basic" && resp.Request.Header.Get("Authorization") == ""
		e.scope = e.scope || ch.params["error"] == "insufficient_scope"
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var body struct {
		Errors []Code `json:"errors"`
	}
	if json.Unmarshal(b, &body) == nil {
		e.Codes = body.Errors
	}
	if len(e.Codes) == 0 {
		e.Body = string(b[:min(len(b), 200)])
	}
	return e
}

func asError(err error, target **Error) bool { return errors.As(err, target) }
