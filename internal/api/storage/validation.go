package storage

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/core"
	"nau/internal/api/meta"
)

const (
	maxParameters     = 512
	maxParameterBytes = 256 * 1024
	maxDriverName     = 63
)

func validateClass(c *storagev1.StorageClass) field.ErrorList {
	var errs field.ErrorList
	p := field.NewPath("provisioner")
	if c.Provisioner == "" {
		errs = append(errs, field.Required(p, ""))
	} else {
		errs = append(errs, meta.QualifiedName(p, strings.ToLower(c.Provisioner))...)
	}
	errs = append(errs, validateParameters(field.NewPath("parameters"), c.Parameters, true)...)
	if v := c.ReclaimPolicy; v != nil && *v != "" {
		errs = append(errs, meta.OneOf(field.NewPath("reclaimPolicy"), *v, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	if c.VolumeBindingMode == nil {
		errs = append(errs, field.Required(field.NewPath("volumeBindingMode"), ""))
	} else {
		errs = append(errs, meta.OneOf(field.NewPath("volumeBindingMode"), *c.VolumeBindingMode, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	for i, t := range c.AllowedTopologies {
		at := field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions")
		keys := sets.New[string]()
		for j, r := range t.MatchLabelExpressions {
			rp := at.Index(j)
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(rp.Child("values"), ""))
			}
			values := sets.New[string]()
			for k, v := range r.Values {
				if values.Has(v) {
					errs = append(errs, field.Duplicate(rp.Child("values").Index(k), v))
				}
				values.Insert(v)
			}
			errs = append(errs, meta.QualifiedName(rp.Child("key"), r.Key)...)
			if keys.Has(r.Key) {
				errs = append(errs, field.Duplicate(rp.Child("key"), r.Key))
			}
			keys.Insert(r.Key)
		}
	}
	return errs
}

func validateParameters(p *field.Path, parameters map[string]string, emptyFine bool) field.ErrorList {
	var errs field.ErrorList
	if len(parameters) > maxParameters {
		return field.ErrorList{field.TooLong(p, "Provisioner Parameters exceeded max allowed", maxParameters)}
	}
	if !emptyFine && len(parameters) == 0 {
		return field.ErrorList{field.Required(p, "must contain at least one key/value pair")}
	}
	total := 0
	for k, v := range parameters {
		if k == "" {
			errs = append(errs, field.Invalid(p, k, "field can not be empty."))
		}
		total += len(k) + len(v)
	}
	if total > maxParameterBytes {
		errs = append(errs, field.TooLong(p, "", maxParameterBytes))
	}
	return errs
}

func validateClassUpdate(new, old *storagev1.StorageClass) field.ErrorList {
	errs := validateClass(new)
	const no = "updates to %s are forbidden."
	fixed := func(name string, is, was any) {
		if !apiequality.Semantic.DeepEqual(is, was) {
			errs = append(errs, field.Forbidden(field.NewPath(name), strings.Replace(no, "%s", name, 1)))
		}
	}
	fixed("parameters", new.Parameters, old.Parameters)
	fixed("provisioner", new.Provisioner, old.Provisioner)
	fixed("reclaimPolicy", new.ReclaimPolicy, old.ReclaimPolicy)
	return append(errs, meta.Immutable(field.NewPath("volumeBindingMode"), new.VolumeBindingMode, old.VolumeBindingMode)...)
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	p, s := field.NewPath("spec"), &a.Spec
	errs := driverName(p.Child("attacher"), s.Attacher)
	src := p.Child("source")
	switch {
	case s.Source.InlineVolumeSpec == nil && s.Source.PersistentVolumeName == nil:
		errs = append(errs, field.Required(src, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case s.Source.InlineVolumeSpec != nil && s.Source.PersistentVolumeName != nil:
		errs = append(errs, field.Forbidden(src, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case s.Source.PersistentVolumeName != nil && *s.Source.PersistentVolumeName == "":
		errs = append(errs, field.Required(src.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	}
	return append(errs, meta.RequiredName(p.Child("nodeName"), s.NodeName)...)
}

func validateAttachmentUpdate(new, old *storagev1.VolumeAttachment) field.ErrorList {
	errs := validateAttachment(new)
	if !apiequality.Semantic.DeepEqual(new.Spec, old.Spec) {
		errs = append(errs, field.Invalid(field.NewPath("spec"), new.Spec, "field is immutable"))
	}
	return errs
}

func driverName(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	if len(name) > maxDriverName {
		errs = append(errs, field.TooLong(p, "", maxDriverName))
	}
	return append(errs, meta.DNSSubdomain(p, strings.ToLower(name))...)
}

func validateDriver(d *storagev1.CSIDriver) field.ErrorList {
	errs := driverName(field.NewPath("name"), d.Name)
	p, s := field.NewPath("spec"), &d.Spec
	for _, f := range []struct {
		name  string
		value *bool
	}{{"attachRequired", s.AttachRequired}, {"podInfoOnMount", s.PodInfoOnMount}, {"storageCapacity", s.StorageCapacity}} {
		if f.value == nil {
			errs = append(errs, field.Required(p.Child(f.name), ""))
		}
	}
	if s.FSGroupPolicy != nil {
		errs = append(errs, meta.OneOf(p.Child("fsGroupPolicy"), *s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy)...)
	}
	audiences := sets.New[string]()
	for i, r := range s.TokenRequests {
		at := p.Child("tokenRequests").Index(i)
		if audiences.Has(r.Audience) {
			errs = append(errs, field.Duplicate(at.Child("audience"), r.Audience))
		}
		audiences.Insert(r.Audience)
		if e := r.ExpirationSeconds; e != nil && *e < 600 {
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes"))
		}
	}
	for i, m := range s.VolumeLifecycleModes {
		errs = append(errs, meta.OneOf(p.Child("volumeLifecycleModes").Index(i), m, storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)...)
	}
	if v := s.NodeAllocatableUpdatePeriodSeconds; v != nil && *v < 10 {
		errs = append(errs, field.Invalid(p.Child("nodeAllocatableUpdatePeriodSeconds"), *v, "must be greater than or equal to 10 seconds"))
	}
	return errs
}

func validateDriverUpdate(new, old *storagev1.CSIDriver) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateDriver(new)
	errs = append(errs, meta.Immutable(p.Child("attachRequired"), new.Spec.AttachRequired, old.Spec.AttachRequired)...)
	return append(errs, meta.Immutable(p.Child("volumeLifecycleModes"), new.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes)...)
}

func validateCSINode(n *storagev1.CSINode) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, d := range n.Spec.Drivers {
		p := field.NewPath("spec", "drivers").Index(i)
		errs = append(errs, driverName(p.Child("name"), d.Name)...)
		if d.NodeID == "" {
			errs = append(errs, field.Required(p.Child("nodeID"), d.NodeID))
		}
		if len(d.NodeID) > 256 {
			errs = append(errs, field.Invalid(p.Child("nodeID"), d.NodeID, "must be 256 characters or less"))
		}
		if d.Allocatable != nil {
			errs = append(errs, meta.NonNegativePtr(p.Child("allocatable", "count"), d.Allocatable.Count)...)
		}
		if names.Has(d.Name) {
			errs = append(errs, field.Duplicate(p.Child("name"), d.Name))
		}
		names.Insert(d.Name)
		keys := sets.New[string]()
		for _, k := range d.TopologyKeys {
			errs = append(errs, meta.QualifiedName(p.Child("topologyKeys"), k)...)
			if k == "" {
				errs = append(errs, field.Required(p.Child("topologyKeys"), ""))
			}
			if keys.Has(k) {
				errs = append(errs, field.Duplicate(p.Child("topologyKeys"), k))
			}
			keys.Insert(k)
		}
	}
	return errs
}

func validateCSINodeUpdate(new, old *storagev1.CSINode) field.ErrorList {
	errs := validateCSINode(new)
	for i, was := range old.Spec.Drivers {
		for _, is := range new.Spec.Drivers {
			same := is
			same.Allocatable = was.Allocatable
			if is.Name == was.Name && !apiequality.Semantic.DeepEqual(same, was) {
				errs = append(errs, field.Invalid(field.NewPath("spec", "drivers").Index(i), is, "field is immutable"))
			}
		}
	}
	return errs
}

func validateCapacity(c *storagev1.CSIStorageCapacity) field.ErrorList {
	errs := meta.LabelSelector(field.NewPath("nodeTopology"), c.NodeTopology)
	errs = append(errs, meta.Invalid(field.NewPath("storageClassName"), c.StorageClassName, validation.IsDNS1123Subdomain(c.StorageClassName))...)
	if c.Capacity != nil {
		errs = append(errs, core.ValidateQuantity(field.NewPath("capacity"), corev1.ResourceStorage, *c.Capacity)...)
	}
	if c.MaximumVolumeSize != nil {
		errs = append(errs, core.ValidateQuantity(field.NewPath("maximumVolumeSize"), corev1.ResourceStorage, *c.MaximumVolumeSize)...)
	}
	return errs
}

func validateCapacityUpdate(new, old *storagev1.CSIStorageCapacity) field.ErrorList {
	errs := validateCapacity(new)
	errs = append(errs, meta.Immutable(field.NewPath("nodeTopology"), new.NodeTopology, old.NodeTopology)...)
	return append(errs, meta.Immutable(field.NewPath("storageClassName"), new.StorageClassName, old.StorageClassName)...)
}

func validateAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := driverName(field.NewPath("driverName"), c.DriverName)
	return append(errs, validateParameters(field.NewPath("parameters"), c.Parameters, false)...)
}

func validateAttributesClassUpdate(new, old *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := validateAttributesClass(new)
	if new.DriverName != old.DriverName {
		errs = append(errs, field.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden."))
	}
	if !apiequality.Semantic.DeepEqual(new.Parameters, old.Parameters) {
		errs = append(errs, field.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden."))
	}
	return errs
}
