package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	reviewv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/admission/match"
)

// question is the AdmissionReview that is sent. Both versions of the kind have the same members.
func question(version string, uid types.UID, r *admission.Request, v *match.View) ([]byte, error) {
	kind := func(k schema.GroupVersionKind) metav1.GroupVersionKind {
		return metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
	}
	resource := func(g schema.GroupVersionResource) metav1.GroupVersionResource {
		return metav1.GroupVersionResource{Group: g.Group, Version: g.Version, Resource: g.Resource}
	}
	own, ownResource := kind(r.Kind), resource(r.Resource)
	req := &reviewv1.AdmissionRequest{
		UID: uid, Kind: kind(v.As.Kind), Resource: resource(v.As.Resource), SubResource: r.Subresource,
		RequestKind: &own, RequestResource: &ownResource, RequestSubResource: r.Subresource,
		Name: r.Name, Namespace: r.Namespace, Operation: reviewv1.Operation(r.Operation), UserInfo: match.User(r), DryRun: &r.DryRun,
	}
	for _, part := range []struct {
		from runtime.Object
		to   *runtime.RawExtension
	}{{v.Object, &req.Object}, {v.Before, &req.OldObject}, {r.Options, &req.Options}} {
		if part.from == nil {
			continue
		}
		b, err := json.Marshal(part.from)
		if err != nil {
			return nil, fmt.Errorf("encode %s for review: %w", r.Kind.Kind, err)
		}
		part.to.Raw = b
	}
	return json.Marshal(&reviewv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: "admission.k8s.io/" + version}, Request: req})
}

// answer reads what came back and checks what the API demands of it.
func answer(doc []byte, version string, uid types.UID, mutating bool) (*reviewv1.AdmissionResponse, error) {
	var review reviewv1.AdmissionReview
	if err := json.Unmarshal(doc, &review); err != nil {
		return nil, fmt.Errorf("webhook response: %w", err)
	}
	a := review.Response
	if a == nil {
		return nil, errors.New("webhook response was absent")
	}
	if version == "v1" {
		if want := "admission.k8s.io/v1"; review.APIVersion != want || review.Kind != "AdmissionReview" {
			return nil, fmt.Errorf("expected webhook response of %s, Kind=AdmissionReview, got %s, Kind=%s", want, review.APIVersion, review.Kind)
		}
		if a.UID != uid {
			return nil, fmt.Errorf("expected response.uid=%q, got %q", uid, a.UID)
		}
		if !mutating && (len(a.Patch) > 0 || a.PatchType != nil) {
			return nil, errors.New("validating webhook may not return response.patch or response.patchType")
		}
		if len(a.Patch) > 0 && a.PatchType == nil {
			return nil, errors.New("webhook returned response.patch but not response.patchType")
		}
		if len(a.Patch) == 0 && a.PatchType != nil && a.Allowed {
			return nil, errors.New("webhook returned response.patchType but not response.patch")
		}
	}
	if a.PatchType != nil && *a.PatchType != reviewv1.PatchTypeJSONPatch {
		return nil, fmt.Errorf("unsupported patch type %q: only %s is known", *a.PatchType, reviewv1.PatchTypeJSONPatch)
	}
	return a, nil
}

// denied is the refusal as clients get it: the webhook's own status, with its name in the message.
func denied(name string, result *metav1.Status) error {
	if result == nil {
		result = &metav1.Status{}
	}
	s := *result
	prefix := fmt.Sprintf("admission webhook %q denied the request", name)
	switch {
	case s.Message != "":
		s.Message = prefix + ": " + s.Message
	case s.Reason != "":
		s.Message = prefix + ": " + string(s.Reason)
	default:
		s.Message = prefix + " without explanation"
	}
	s.Status = metav1.StatusFailure
	if s.Code < http.StatusBadRequest {
		s.Code = http.StatusBadRequest
	}
	return &apierrors.StatusError{ErrStatus: s}
}

// unreached is a call without an answer, unlike an answer that is none.
type unreached struct{ error }

func (u unreached) Unwrap() error { return u.error }

func callFailed(name string, err error) error {
	if _, ok := err.(unreached); ok {
		return apierrors.NewInternalError(fmt.Errorf("failed calling webhook %q: failed to call webhook: %w", name, err))
	}
	return apierrors.NewInternalError(fmt.Errorf("failed calling webhook %q: %w", name, err))
}

func trialUnsupported(name string) error {
	return apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", name))
}

func conditionFailed(r *admission.Request, err error) error {
	return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, err)
}
