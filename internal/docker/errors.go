package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/common"

	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/network"
	"nau/internal/engine/volume"
	"nau/internal/oci/monitor"
)

// failure is an error with the status code that Docker gives it.
type failure struct {
	code int
	text string
}

func (f *failure) Error() string { return f.text }

func fail(code int, format string, args ...any) error {
	return &failure{code, fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return fail(http.StatusBadRequest, format, args...)
}
func notFound(format string, args ...any) error { return fail(http.StatusNotFound, format, args...) }
func conflict(format string, args ...any) error { return fail(http.StatusConflict, format, args...) }

// errNotModified is no error but an answer: the thing is in the wished state.
var errNotModified = &failure{http.StatusNotModified, ""}

// errAnswered is no error either: the client has its answer already.
var errAnswered = &failure{0, ""}

// statusOf finds the status code of an error of the engine.
func statusOf(err error) int {
	var f *failure
	var reg *image.RegistryError
	is := func(kinds ...error) bool {
		for _, k := range kinds {
			if errors.Is(err, k) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.As(err, &f):
		return f.code
	case is(container.ErrNotFound, image.ErrNotFound, network.ErrNotFound, volume.ErrNotFound, layer.ErrNotFound, image.ErrManifestUnknown):
		return http.StatusNotFound
	case is(container.ErrNameTaken, container.ErrState, image.ErrConflict, image.ErrParent, image.ErrInUse, volume.ErrInUse, monitor.ErrState):
		return http.StatusConflict
	case is(network.ErrInUse):
		return http.StatusForbidden
	case is(image.ErrUnauthorized):
		return http.StatusNotFound // as Docker: "pull access denied"
	case is(image.ErrInvalidReference, image.ErrAmbiguous, container.ErrAmbiguous, image.ErrArchive, layer.ErrArchive, container.ErrRuntime, volume.ErrInvalid):
		return http.StatusBadRequest
	case errors.As(err, &reg) && reg.Status == http.StatusNotFound:
		return http.StatusNotFound
	case is(context.Canceled):
		return 499
	}
	return http.StatusInternalServerError
}

// writeError answers with Docker's error document.
func writeError(w http.ResponseWriter, err error) {
	code := statusOf(err)
	if code == 0 {
		return
	}
	if code == http.StatusNotModified {
		w.WriteHeader(code)
		return
	}
	var f *failure
	text := oneLine(err)
	if errors.As(err, &f) {
		text = err.Error() // as Docker has it, line breaks included
	}
	writeJSON(w, code, common.ErrorResponse{Message: text})
}

// oneLine keeps joined errors on one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", ": ") }

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

// maxBody bounds a request's document.
const maxBody = 16 << 20

// readDocument takes a request's document in and refuses what is none, before anything else is asked.
func readDocument(r *http.Request) error {
	kind := r.Header.Get("Content-Type")
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		if kind == "" {
			return nil
		}
	}
	if plain, _, _ := strings.Cut(kind, ";"); strings.TrimSpace(plain) != "application/json" {
		return badRequest("unsupported Content-Type header (%s): must be 'application/json'", kind)
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	var doc json.RawMessage
	if err := decodeOne(bytes.NewReader(text), &doc); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	return nil
}

// decodeOne decodes the one document that a reader has; nothing at all leaves v as it is.
func decodeOne(r io.Reader, v any) error {
	dec := json.NewDecoder(r)
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return badRequest("invalid JSON: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("unexpected content after JSON")
	}
	return nil
}

// readJSON decodes a request's document; an empty one leaves v as it is.
func readJSON(r *http.Request, v any) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return decodeOne(io.LimitReader(r.Body, maxBody), v)
}
