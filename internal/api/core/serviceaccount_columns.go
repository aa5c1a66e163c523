package core

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
)

func serviceAccountColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Number("Secrets", corev1.ServiceAccount{}.SwaggerDoc()["secrets"], func(s *corev1.ServiceAccount) int { return len(s.Secrets) }),
		column.Age(),
	}
}

// defaultTokenRequest: a token lives an hour.
func defaultTokenRequest(r *authenticationv1.TokenRequest) {
	if r.Spec.ExpirationSeconds == nil {
		r.Spec.ExpirationSeconds = ptr.To(tokenSeconds)
	}
}

func validateTokenRequest(r *authenticationv1.TokenRequest) field.ErrorList {
	p := field.NewPath("spec", "expirationSeconds")
	seconds := ptr.Deref(r.Spec.ExpirationSeconds, tokenSeconds)
	switch {
	case seconds < 600:
		return field.ErrorList{field.Invalid(p, seconds, "may not specify a duration less than 10 minutes")}
	case seconds > 1<<32:
		return field.ErrorList{field.Invalid(p, seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}
