package core

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validateNode(n *corev1.Node) field.ErrorList {
	errs := validateTaints(field.NewPath("spec", "taints"), n.Spec.Taints)
	return append(errs, validatePodCIDRs(field.NewPath("spec", "podCIDRs"), n.Spec.PodCIDRs)...)
}

func validateTaints(p *field.Path, taints []corev1.Taint) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[[2]string]()
	for i, t := range taints {
		at := p.Index(i)
		errs = append(errs, meta.QualifiedName(at.Child("key"), t.Key)...)
		errs = append(errs, meta.Invalid(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
		errs = append(errs, validateTaintEffect(at.Child("effect"), t.Effect)...)
		k := [2]string{t.Key, string(t.Effect)}
		if seen.Has(k) {
			dup := field.Duplicate(at, t)
			dup.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, dup)
		}
		seen.Insert(k)
	}
	return errs
}

func validatePodCIDRs(p *field.Path, cidrs []string) field.ErrorList {
	var errs field.ErrorList
	var four []bool
	for i, c := range cidrs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(p.Index(i), c, false, nil)...)
		if prefix, err := netip.ParsePrefix(c); err == nil {
			four = append(four, prefix.Addr().Is4())
		}
	}
	if len(cidrs) > 1 && (len(cidrs) > 2 || len(four) == 2 && four[0] == four[1]) {
		errs = append(errs, field.Invalid(p, cidrs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

// validateNodeUpdate: of a node's spec the pod ranges and the provider's id are filled in once.
func validateNodeUpdate(new, old *corev1.Node) field.ErrorList {
	errs := validateNode(new)
	p := field.NewPath("spec")
	if len(old.Spec.PodCIDRs) > 0 && !apiequality.Semantic.DeepEqual(new.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(p.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && new.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(p.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	same := new.Spec.DeepCopy()
	same.PodCIDR, same.PodCIDRs, same.ProviderID = old.Spec.PodCIDR, old.Spec.PodCIDRs, old.Spec.ProviderID
	same.Taints, same.Unschedulable, same.ConfigSource = old.Spec.Taints, old.Spec.Unschedulable, old.Spec.ConfigSource
	if !apiequality.Semantic.DeepEqual(*same, old.Spec) {
		errs = append(errs, field.Forbidden(p, "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)"))
	}
	return errs
}

func validateNodeStatus(new, old *corev1.Node) field.ErrorList {
	p := field.NewPath("status")
	var errs field.ErrorList
	for _, part := range []struct {
		name string
		list corev1.ResourceList
	}{{"capacity", new.Status.Capacity}, {"allocatable", new.Status.Allocatable}} {
		for _, name := range sortedResources(part.list) {
			at := p.Child(part.name).Key(string(name))
			errs = append(errs, meta.QualifiedName(at, string(name))...)
			errs = append(errs, ValidateQuantity(at, name, part.list[name])...)
		}
	}
	seen := sets.New[corev1.NodeAddress]()
	for i, a := range new.Status.Addresses {
		if seen.Has(a) {
			errs = append(errs, field.Duplicate(p.Child("addresses").Index(i), a))
		}
		seen.Insert(a)
	}
	for i, image := range new.Status.Images {
		for j, name := range image.Names {
			if name == "" {
				errs = append(errs, field.Required(p.Child("images").Index(i).Child("names").Index(j), fmt.Sprintf("image %d has an empty name", i)))
			}
		}
	}
	return errs
}
