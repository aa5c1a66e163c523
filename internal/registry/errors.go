package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
)

// problem is an answer of distribution-spec, "Error Codes".
type problem struct {
	status  int
	code    string
	message string
	detail  any
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.status, p.code, p.message) }

func fault(status int, code, message string, detail any) error {
	return &problem{status, code, message, detail}
}

var errNotFound = &problem{http.StatusNotFound, "NOT_FOUND", "no such resource", nil}

// writeError is the one translation of errors to HTTP. Errors that are not problems are ours, and their text stays here.
func writeError(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	var p *problem
	if !errors.As(err, &p) {
		if errors.Is(err, context.Canceled) {
			return // nobody is there to read
		}
		log.Error("serve request", "method", r.Method, "path", r.URL.Path, "error", err)
		p = &problem{http.StatusInternalServerError, "UNKNOWN", "internal error", nil}
		if errors.Is(err, syscall.ENOSPC) {
			p = &problem{http.StatusInsufficientStorage, "UNKNOWN", "no space left", nil}
		}
	}
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Del("Content-Length")
	w.WriteHeader(p.status)
	if r.Method == http.MethodHead {
		return
	}
	b, _ := json.Marshal(map[string][]entry{"errors": {{p.code, p.message, p.detail}}})
	_, _ = w.Write(b) // a client that left reads no error
}

// ignoreGone: an answer that could not be written has nobody to complain to.
func ignoreGone(err error) error {
	var ne *net.OpError
	if errors.As(err, &ne) || errors.Is(err, http.ErrHandlerTimeout) {
		return nil
	}
	return err
}
