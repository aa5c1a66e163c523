package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validateClaim(c *corev1.PersistentVolumeClaim) field.ErrorList {
	return ValidateClaimSpec(field.NewPath("spec"), &c.Spec)
}

// ValidateClaimSpec checks a claim's spec, wherever it stands.
func ValidateClaimSpec(p *field.Path, s *corev1.PersistentVolumeClaimSpec) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(p.Child("accessModes"), "at least 1 access mode is required"))
	}
	errs = append(errs, meta.LabelSelector(p.Child("selector"), s.Selector)...)
	errs = append(errs, validateAccessModes(p.Child("accessModes"), s.AccessModes)...)
	requests := p.Child("resources")
	if storage, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(requests.Key(string(corev1.ResourceStorage)), ""))
	} else {
		at := requests.Key(string(corev1.ResourceStorage))
		errs = append(errs, ValidateQuantity(at, corev1.ResourceStorage, storage)...)
		if storage.Sign() <= 0 {
			errs = append(errs, field.Invalid(at, storage.String(), "must be greater than zero"))
		}
	}
	if s.StorageClassName != nil && *s.StorageClassName != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("storageClassName"), *s.StorageClassName)...)
	}
	if s.VolumeMode != nil {
		errs = append(errs, meta.OneOf(p.Child("volumeMode"), *s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	if s.DataSource != nil {
		group := ""
		if s.DataSource.APIGroup != nil {
			group = *s.DataSource.APIGroup
		}
		errs = append(errs, validateDataSource(p.Child("dataSource"), group, s.DataSource.Kind, s.DataSource.Name)...)
	}
	if s.DataSourceRef != nil {
		group := ""
		if s.DataSourceRef.APIGroup != nil {
			group = *s.DataSourceRef.APIGroup
		}
		errs = append(errs, validateDataSource(p.Child("dataSourceRef"), group, s.DataSourceRef.Kind, s.DataSourceRef.Name)...)
		if ns := s.DataSourceRef.Namespace; ns != nil && *ns != "" {
			errs = append(errs, meta.DNSLabel(p.Child("dataSourceRef", "namespace"), *ns)...)
			if s.DataSource != nil {
				errs = append(errs, field.Invalid(p.Child("dataSource"), s.DataSource.Name, "may not be specified when dataSourceRef.namespace is specified"))
			}
		} else if s.DataSource != nil {
			same := s.DataSource.Kind == s.DataSourceRef.Kind && s.DataSource.Name == s.DataSourceRef.Name &&
				apiequality.Semantic.DeepEqual(s.DataSource.APIGroup, s.DataSourceRef.APIGroup)
			if !same {
				errs = append(errs, field.Invalid(p, p.Child("dataSource"), "must match dataSourceRef"))
			}
		}
	}
	if s.VolumeAttributesClassName != nil && *s.VolumeAttributesClassName != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("volumeAttributesClassName"), *s.VolumeAttributesClassName)...)
	}
	return errs
}

func validateDataSource(p *field.Path, group, kind, name string) field.ErrorList {
	errs := meta.Required(p.Child("name"), name)
	errs = append(errs, meta.Required(p.Child("kind"), kind)...)
	if group == "" && kind != "PersistentVolumeClaim" {
		errs = append(errs, field.Invalid(p, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
	}
	if group != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("apiGroup"), group)...)
	}
	return errs
}

func validateAccessModes(p *field.Path, modes []corev1.PersistentVolumeAccessMode) field.ErrorList {
	var errs field.ErrorList
	once, others := false, false
	for _, m := range modes {
		errs = append(errs, meta.OneOf(p, m, corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod)...)
		if m == corev1.ReadWriteOncePod {
			once = true
		} else {
			others = true
		}
	}
	if once && others {
		errs = append(errs, field.Forbidden(p, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// validateClaimUpdate: a claim is fixed, but for more storage once bound, its attributes class, and the
// volume name that binding fills in.
func validateClaimUpdate(new, old *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := validateClaim(new)
	p := field.NewPath("spec")
	same := new.Spec.DeepCopy()
	if old.Spec.VolumeName == "" && same.VolumeName != "" {
		same.VolumeName = ""
	}
	if old.Spec.StorageClassName == nil && same.StorageClassName != nil && new.Annotations[corev1.BetaStorageClassAnnotation] == old.Annotations[corev1.BetaStorageClassAnnotation] {
		same.StorageClassName = nil // given later by the default class (KEP-3333)
	}
	same.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	is, was := new.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	capacity := old.Status.Capacity[corev1.ResourceStorage]
	if old.Status.Phase == corev1.ClaimBound {
		same.Resources.Requests = old.Spec.Resources.Requests
		if is.Cmp(was) < 0 && is.Cmp(capacity) <= 0 {
			errs = append(errs, field.Forbidden(p.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
		}
	}
	if !apiequality.Semantic.DeepEqual(*same, old.Spec) {
		errs = append(errs, field.Forbidden(p, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"))
	}
	return append(errs, meta.Immutable(p.Child("volumeMode"), new.Spec.VolumeMode, old.Spec.VolumeMode)...)
}

func claimWarnings(p *field.Path, s *corev1.PersistentVolumeClaimSpec) []string {
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; ok && q.MilliValue()%1000 != 0 {
		return []string{fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", p.Child("resources", "requests").Key("storage"), q.String())}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return sets.List(sets.KeySet(m)) }
