package apiserver

import (
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// logOptions are the options of a log that are passed on to the node, checked as the API reference of PodLogOptions says.
func logOptions(query url.Values, pod string) (url.Values, error) {
	q := url.Values{}
	for _, name := range []string{"follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"} {
		if v := query.Get(name); v != "" {
			q.Set(name, v)
		}
	}
	var errs field.ErrorList
	for _, number := range []struct {
		name  string
		least int64
		text  string
	}{{"tailLines", 0, "must be greater than or equal to 0"}, {"limitBytes", 1, "must be greater than 0"}, {"sinceSeconds", 1, "must be greater than 0"}} {
		if !q.Has(number.name) {
			continue
		}
		n, err := strconv.ParseInt(q.Get(number.name), 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if n < number.least {
			errs = append(errs, field.Invalid(field.NewPath(number.name), n, number.text))
		}
	}
	if q.Has("sinceTime") {
		if _, err := time.Parse(time.RFC3339, q.Get("sinceTime")); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if q.Has("sinceSeconds") {
			errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
		}
	}
	switch stream := q.Get("stream"); stream {
	case "", corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr:
	default:
		errs = append(errs, field.NotSupported(field.NewPath("stream"), stream, []string{corev1.LogStreamAll, corev1.LogStreamStderr, corev1.LogStreamStdout}))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), pod, errs)
	}
	return q, nil
}
