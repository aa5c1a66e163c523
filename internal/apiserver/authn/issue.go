package authn

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits of TokenRequest's spec.expirationSeconds (authentication.k8s.io/v1).
const (
	minLife     = 10 * 60
	maxLife     = 1 << 32
	defaultLife = 60 * 60
	// transitionLife is asked for by projected volumes of old clients that may not reload their token: it only warns then (KEP-1205).
	transitionLife = 60*60 + 7
	extendedLife   = 365 * 24 * 60 * 60
)

// Issue answers a TokenRequest for sa: it returns the request with its defaults and its status filled. Errors are API status errors.
func (s *ServiceAccounts) Issue(ctx context.Context, sa *corev1.ServiceAccount, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	req = req.DeepCopy()
	if req.Name != "" && req.Name != sa.Name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.name %q is not the service account's, %q", req.Name, sa.Name))
	}
	if req.Namespace != "" && req.Namespace != sa.Namespace {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.namespace %q is not the service account's, %q", req.Namespace, sa.Namespace))
	}
	now := s.Clock.Now()
	req.Name, req.Namespace = sa.Name, sa.Namespace
	req.CreationTimestamp = metav1.NewTime(now)
	if req.Spec.ExpirationSeconds == nil {
		life := int64(defaultLife)
		req.Spec.ExpirationSeconds = &life
	}
	if len(req.Spec.Audiences) == 0 {
		req.Spec.Audiences = slices.Clone(s.Audiences)
	}
	if errs := validate(req); len(errs) > 0 {
		gk := schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}
		return nil, apierrors.NewInvalid(gk, sa.Name, errs)
	}
	bound, err := s.bind(ctx, sa, req.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}
	life := *req.Spec.ExpirationSeconds
	if life == transitionLife && bound.Pod != nil && slices.Equal(req.Spec.Audiences, s.Audiences) {
		bound.WarnAfter = jwt.NewNumericDate(now.Add(time.Duration(life) * time.Second))
		life = extendedLife
	}
	c := &Claims{Kubernetes: bound, RegisteredClaims: jwt.RegisteredClaims{
		Issuer:    s.Issuers[0],
		Subject:   identityOf(sa),
		Audience:  req.Spec.Audiences,
		ID:        string(uuid.NewUUID()),
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(time.Duration(life) * time.Second)),
	}}
	token, err := sign(s.Keys, c)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	req.Status = authenticationv1.TokenRequestStatus{
		Token:               token,
		ExpirationTimestamp: metav1.NewTime(now.Add(time.Duration(*req.Spec.ExpirationSeconds) * time.Second)),
	}
	return req, nil
}

// IssueForSecret makes the unending token of a Secret of type kubernetes.io/service-account-token.
func (s *ServiceAccounts) IssueForSecret(sa *corev1.ServiceAccount, secret string) (string, error) {
	return sign(s.Keys, &Claims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: legacyIssuer, Subject: identityOf(sa)},
		LegacyNamespace:  sa.Namespace, LegacySecret: secret, LegacyName: sa.Name, LegacyUID: sa.UID,
	})
}

func validate(req *authenticationv1.TokenRequest) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	life := *req.Spec.ExpirationSeconds
	if life < minLife {
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), life, "may not specify a duration less than 10 minutes"))
	}
	if life > maxLife {
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), life, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// bind finds the object that the token shall die with.
func (s *ServiceAccounts) bind(ctx context.Context, sa *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) (*Bound, error) {
	b := &Bound{Namespace: sa.Namespace, ServiceAccount: Ref{sa.Name, sa.UID}}
	if ref == nil {
		return b, nil
	}
	var obj metav1.Object
	var err error
	var resource string
	switch gv := ref.APIVersion; {
	case ref.Kind == "Pod" && (gv == "" || gv == "v1"):
		resource = "pods"
		pod, e := s.Objects.Pod(ctx, sa.Namespace, ref.Name, ref.UID)
		if e != nil {
			return nil, e
		}
		if pod.Spec.ServiceAccountName != sa.Name {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", sa.Name))
		}
		obj, b.Pod = pod, &Ref{pod.Name, pod.UID}
		if pod.Spec.NodeName != "" {
			b.Node = s.nodeOf(ctx, pod.Spec.NodeName)
		}
	case ref.Kind == "Secret" && (gv == "" || gv == "v1"):
		resource = "secrets"
		if obj, err = s.Objects.Secret(ctx, sa.Namespace, ref.Name, ref.UID); err == nil {
			b.Secret = &Ref{obj.GetName(), obj.GetUID()}
		}
	case ref.Kind == "Node" && (gv == "" || gv == "v1"):
		resource = "nodes"
		if obj, err = s.Objects.Node(ctx, ref.Name, ref.UID); err == nil {
			b.Node = &Ref{obj.GetName(), obj.GetUID()}
		}
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", schema.FromAPIVersionAndKind(gv, ref.Kind)))
	}
	if err != nil {
		return nil, err
	}
	if ref.UID != "" && ref.UID != obj.GetUID() {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: resource}, ref.Name, fmt.Errorf(
			"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return b, nil
}

// nodeOf is told in a pod's token, with its uid if the node is known.
func (s *ServiceAccounts) nodeOf(ctx context.Context, name string) *Ref {
	r := &Ref{Name: name}
	if n, err := s.Objects.Node(ctx, name, types.UID("")); err == nil {
		r.UID = n.UID
	}
	return r
}

func identityOf(sa *corev1.ServiceAccount) string {
	return "system:serviceaccount:" + sa.Namespace + ":" + sa.Name
}
