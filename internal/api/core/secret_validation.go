package core

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validateSecret(s *corev1.Secret) field.ErrorList {
	data := field.NewPath("data")
	var errs field.ErrorList
	total := 0
	for _, k := range sortedKeys(s.Data) {
		errs = append(errs, meta.Invalid(data.Key(k), k, validation.IsConfigMapKey(k))...)
		total += len(s.Data[k])
	}
	if total > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(data, "", corev1.MaxSecretSize))
	}
	need := func(keys ...string) {
		for _, k := range keys {
			if _, ok := s.Data[k]; !ok {
				errs = append(errs, field.Required(data.Key(k), ""))
			}
		}
	}
	isJSON := func(key string) {
		raw, ok := s.Data[key]
		if !ok {
			errs = append(errs, field.Required(data.Key(key), ""))
			return
		}
		var config map[string]any
		if err := json.Unmarshal(raw, &config); err != nil {
			errs = append(errs, field.Invalid(data.Key(key), "<secret contents redacted>", err.Error()))
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		isJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		isJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return errs
}

func validateSecretUpdate(new, old *corev1.Secret) field.ErrorList {
	errs := meta.Immutable(field.NewPath("type"), new.Type, old.Type)
	if old.Immutable != nil && *old.Immutable {
		if new.Immutable == nil || !*new.Immutable {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set"))
		}
		errs = append(errs, frozen("data", new.Data, old.Data)...)
	}
	return append(errs, validateSecret(new)...)
}

func secretWarnings(new, _ *corev1.Secret) []string {
	if new.Type != corev1.SecretTypeTLS {
		return nil
	}
	if cert := new.Data[corev1.TLSCertKey]; len(cert) > 0 && !strings.Contains(string(cert), "-----BEGIN CERTIFICATE-----") {
		return []string{fmt.Sprintf("%s: tls: failed to find any PEM data in certificate input", field.NewPath("data").Key(corev1.TLSCertKey))}
	}
	return nil
}
