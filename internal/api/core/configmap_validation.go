package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	total := 0
	for _, k := range sortedKeys(c.Data) {
		errs = append(errs, meta.Invalid(field.NewPath("data").Key(k), k, validation.IsConfigMapKey(k))...)
		if _, dup := c.BinaryData[k]; dup {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(k), k, "duplicate of key present in binaryData"))
		}
		total += len(c.Data[k])
	}
	for _, k := range sortedKeys(c.BinaryData) {
		errs = append(errs, meta.Invalid(field.NewPath("binaryData").Key(k), k, validation.IsConfigMapKey(k))...)
		total += len(c.BinaryData[k])
	}
	if total > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}

func validateConfigMapUpdate(new, old *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	if old.Immutable != nil && *old.Immutable {
		if new.Immutable == nil || !*new.Immutable {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set"))
		}
		errs = append(errs, frozen("data", new.Data, old.Data)...)
		errs = append(errs, frozen("binaryData", new.BinaryData, old.BinaryData)...)
	}
	return append(errs, validateConfigMap(new)...)
}

func frozen(name string, new, old any) field.ErrorList {
	if len(meta.Immutable(field.NewPath(name), new, old)) > 0 {
		return field.ErrorList{field.Forbidden(field.NewPath(name), "field is immutable when `immutable` is set")}
	}
	return nil
}
