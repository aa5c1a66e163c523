package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// modified is the cause of every optimistic lock that failed.
var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

var statusGVK = schema.GroupVersionKind{Version: "v1", Kind: "Status"}

// translate turns the store's kinds of failure into API errors; others pass.
func translate(err error, gr schema.GroupResource, name string) error {
	var future *store.FutureError
	var expired *store.ExpiredError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return apierrors.NewNotFound(gr, name)
	case errors.Is(err, store.ErrExists):
		return apierrors.NewAlreadyExists(gr, name)
	case errors.Is(err, store.ErrConflict):
		return apierrors.NewConflict(gr, name, errModified)
	case errors.As(err, &expired) && expired.Continue != "":
		e := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
		e.ErrStatus.ListMeta.Continue = expired.Continue
		return e
	case errors.Is(err, store.ErrExpired):
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	case errors.As(err, &future):
		return tooLargeRevision(future)
	case errors.Is(err, store.ErrBadContinue):
		return apierrors.NewBadRequest("continue key is not valid: " + err.Error())
	case errors.Is(err, store.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, store.ErrNoSpace):
		return apierrors.NewInternalError(fmt.Errorf("the store has reached its quota: %w", err))
	case errors.Is(err, store.ErrDiskFull):
		return apierrors.NewInternalError(fmt.Errorf("the store's disk is full: %w", err))
	case errors.Is(err, store.ErrClosed):
		e := apierrors.NewServiceUnavailable("the server is shutting down, or the kind is being defined anew")
		e.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("request did not complete within the requested timeout", 0)
	}
	return err
}

// tooLargeRevision is upstream's answer to a revision that the store has not reached; clients recognise the cause and retry.
func tooLargeRevision(f *store.FutureError) error {
	e := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", f.Asked, f.Current), 1)
	e.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return e
}

// statusOf is the Status that a client gets for an error.
func statusOf(err error) *metav1.Status {
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		st := known.Status()
		if st.Status == "" {
			st.Status = metav1.StatusFailure
		}
		if st.Code == 0 {
			st.Code = http.StatusInternalServerError
		}
		return &st
	}
	code := int32(http.StatusInternalServerError)
	if errors.Is(err, context.Canceled) {
		code = 499
	}
	return &metav1.Status{Status: metav1.StatusFailure, Code: code, Message: err.Error()}
}

// fail answers with an error.
func (c *call) fail(err error) {
	if c.w.wrote {
		return
	}
	st := statusOf(translate(err, c.gr(), c.info.Name))
	if st.Code >= 500 && st.Reason != metav1.StatusReasonTimeout {
		c.srv.log.Warn("request failed", "method", c.r.Method, "path", c.info.Path, "code", st.Code, "cause", st.Message)
	}
	if st.Details != nil && st.Details.RetryAfterSeconds > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int(st.Details.RetryAfterSeconds)))
	}
	media := c.accept.Media
	b, media, err := wire.Encode(st, statusGVK, media, c.pretty())
	if err != nil {
		http.Error(c.w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := c.w.Header()
	h.Set("Content-Type", media.String())
	h.Set("Content-Length", strconv.Itoa(len(b)))
	code := int(st.Code)
	if code == 499 {
		code = http.StatusServiceUnavailable
	}
	c.w.WriteHeader(code)
	_, _ = c.w.Write(b)
}

// notAcceptable and unsupportedMedia list what is served, as upstream does.
func notAcceptable() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + wire.TypeJSON + ", " + wire.TypeYAML + ", " + wire.TypeProtobuf,
	}}
}

func unsupportedMedia(types ...string) error {
	msg := "the body of the request was in an unknown format - accepted media types include: "
	for i, t := range types {
		if i > 0 {
			msg += ", "
		}
		msg += t
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType, Message: msg,
	}}
}
