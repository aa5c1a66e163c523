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
}

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
	e := &Error{Host: resp.Request.URL.Host, Method: resp.Request.Method, Path: resp.Request.URL.Path, Status: resp.StatusCode}
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
