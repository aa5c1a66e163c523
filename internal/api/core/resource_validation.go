package core

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

const notStandardOrQualified = "must be a standard resource type or fully qualified"

func int64String(n int64) string { return strconv.FormatInt(n, 10) }

// containerResources are the standard names that containers may use; huge pages come by prefix.
var containerResources = []string{"cpu", "ephemeral-storage", "memory"}

// validateResourceName: a standard name of the list, or a fully qualified one.
func validateResourceName(p *field.Path, name string, standard []string) field.ErrorList {
	errs := meta.QualifiedName(p, name)
	if len(errs) > 0 {
		return errs
	}
	if !strings.Contains(name, "/") {
		if slices.Contains(standard, name) || hugePages(corev1.ResourceName(name)) {
			return nil
		}
		if anyStandard(name) {
			return field.ErrorList{field.Invalid(p, name, "must be a standard resource for containers")}
		}
		return field.ErrorList{field.Invalid(p, name, notStandardOrQualified), field.Invalid(p, name, "must be a standard resource for containers")}
	}
	if !nativeResource(corev1.ResourceName(name)) && !extendedResource(corev1.ResourceName(name)) {
		return field.ErrorList{field.Invalid(p, name, "doesn't follow extended resource name standard")}
	}
	return nil
}

var otherStandard = []string{"pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
	"storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
	"limits.ephemeral-storage", "services.nodeports", "services.loadbalancers", "cpu", "memory", "ephemeral-storage"}

func anyStandard(name string) bool {
	return slices.Contains(otherStandard, name) || hugePages(corev1.ResourceName(name)) ||
		strings.HasPrefix(name, "requests.hugepages-")
}

// integerResource: counted in whole units.
func integerResource(name corev1.ResourceName) bool {
	switch name {
	case "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
		"services.nodeports", "services.loadbalancers":
		return true
	}
	return extendedResource(name)
}

// ValidateQuantity: not negative, and whole where the resource is counted in units.
func ValidateQuantity(p *field.Path, name corev1.ResourceName, q resource.Quantity) field.ErrorList {
	errs := nonNegativeQuantity(p, q)
	if integerResource(name) && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(p, q.String(), "must be an integer"))
	}
	return errs
}

func nonNegativeQuantity(p *field.Path, q resource.Quantity) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(p, q.String(), apivalidation.IsNegativeErrorMsg)}
	}
	return nil
}

func validateContainerResources(p *field.Path, r *corev1.ResourceRequirements, claims sets.Set[string]) field.ErrorList {
	var errs field.ErrorList
	limits, requests := p.Child("limits"), p.Child("requests")
	cpuOrMemory, huge := false, false
	for _, name := range sortedResources(r.Limits) {
		q := r.Limits[name]
		at := limits.Key(string(name))
		errs = append(errs, validateResourceName(at, string(name), containerResources)...)
		errs = append(errs, ValidateQuantity(at, name, q)...)
		huge = huge || hugePages(name)
		cpuOrMemory = cpuOrMemory || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		if hugePages(name) {
			errs = append(errs, wholePages(at, name, q)...)
		}
	}
	for _, name := range sortedResources(r.Requests) {
		q := r.Requests[name]
		at := requests.Key(string(name))
		errs = append(errs, validateResourceName(at, string(name), containerResources)...)
		errs = append(errs, ValidateQuantity(at, name, q)...)
		huge = huge || hugePages(name)
		cpuOrMemory = cpuOrMemory || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		limit, limited := r.Limits[name]
		switch {
		case limited && q.Cmp(limit) != 0 && !overcommitAllowed(name):
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && q.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && !overcommitAllowed(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
		if hugePages(name) {
			errs = append(errs, wholePages(at, name, q)...)
		}
	}
	if huge && !cpuOrMemory {
		errs = append(errs, field.Forbidden(p, "HugePages require cpu or memory"))
	}
	seen := sets.New[string]()
	for i, c := range r.Claims {
		at := p.Child("claims").Index(i).Child("name")
		key := c.Name + "/" + c.Request
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at, ""))
		case seen.Has(key) || seen.Has(c.Name+"/"):
			errs = append(errs, field.Duplicate(p.Child("claims").Index(i), c.Name))
		default:
			seen.Insert(key)
		}
		if c.Name != "" && claims != nil && !claims.Has(c.Name) {
			errs = append(errs, field.NotFound(at, c.Name))
		}
		if c.Request != "" {
			errs = append(errs, meta.DNSLabel(p.Child("claims").Index(i).Child("request"), c.Request)...)
		}
	}
	return errs
}

func wholePages(p *field.Path, name corev1.ResourceName, q resource.Quantity) field.ErrorList {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || size.Value() == 0 {
		return field.ErrorList{field.Invalid(p, string(name), "must name a page size")}
	}
	if q.Value()%size.Value() != 0 {
		return field.ErrorList{field.Invalid(p, q.String(), q.String()+" is not positive integer multiple of "+string(name))}
	}
	return nil
}

func sortedResources(list corev1.ResourceList) []corev1.ResourceName {
	return sets.List(sets.KeySet(list))
}

// validatePodResources checks spec.resources against what the containers ask for (KEP-2837).
func validatePodResources(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	r := spec.Resources
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	supported := []string{"cpu", "memory", "hugepages-"}
	for _, part := range []struct {
		at   *field.Path
		list corev1.ResourceList
	}{{p.Child("limits"), r.Limits}, {p.Child("requests"), r.Requests}} {
		for _, name := range sortedResources(part.list) {
			if !podLevelResource(name) {
				errs = append(errs, field.NotSupported(part.at.Key(string(name)), string(name), supported))
				continue
			}
			errs = append(errs, ValidateQuantity(part.at.Key(string(name)), name, part.list[name])...)
		}
	}
	if len(r.Claims) > 0 {
		errs = append(errs, field.Forbidden(p.Child("claims"), "claims cannot be set for Resources at pod-level"))
	}
	sum := containerRequests(spec)
	for _, name := range sortedResources(r.Requests) {
		q := r.Requests[name]
		at := p.Child("requests").Key(string(name))
		if asked, ok := sum[name]; ok && asked.Cmp(q) > 0 {
			errs = append(errs, field.Invalid(at, q.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", asked.String())))
		}
		if limit, ok := r.Limits[name]; ok && q.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(p.Child("requests"), q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	for i, c := range spec.Containers {
		for _, name := range sortedResources(r.Limits) {
			limit := r.Limits[name]
			if own, ok := c.Resources.Limits[name]; ok && podLevelResource(name) && own.Cmp(limit) > 0 {
				errs = append(errs, field.Invalid(field.NewPath("spec", "containers").Index(i).Child("resources", "limits"), own.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", limit.String())))
			}
		}
	}
	return errs
}

func validateResizePolicy(p *field.Path, policies []corev1.ContainerResizePolicy, restart corev1.RestartPolicy) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[corev1.ResourceName]()
	for i, policy := range policies {
		if seen.Has(policy.ResourceName) {
			errs = append(errs, field.Duplicate(p.Index(i), policy.ResourceName))
		}
		seen.Insert(policy.ResourceName)
		errs = append(errs, meta.OneOf(p, policy.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, meta.OneOf(p, policy.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if restart == corev1.RestartPolicyNever && policy.RestartPolicy == corev1.RestartContainer {
			errs = append(errs, field.Invalid(p, policy.RestartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
		}
	}
	return errs
}
