package resource

import (
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/core"
	"nau/internal/api/meta"
)

// DefaultClaim: a request asks for exactly one device unless it says otherwise.
func DefaultClaim(c *resourcev1.ResourceClaim) { defaultRequests(c.Spec.Devices.Requests) }

// DefaultClaimTemplate is DefaultClaim inside a template.
func DefaultClaimTemplate(t *resourcev1.ResourceClaimTemplate) {
	defaultRequests(t.Spec.Spec.Devices.Requests)
}

func defaultRequests(requests []resourcev1.DeviceRequest) {
	fill := func(mode *resourcev1.DeviceAllocationMode, count *int64, tolerations []resourcev1.DeviceToleration) {
		if *mode == "" {
			*mode = resourcev1.DeviceAllocationModeExactCount
		}
		if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
			*count = 1
		}
		for i := range tolerations {
			if tolerations[i].Operator == "" {
				tolerations[i].Operator = resourcev1.DeviceTolerationOpEqual
			}
		}
	}
	for i := range requests {
		if e := requests[i].Exactly; e != nil {
			fill(&e.AllocationMode, &e.Count, e.Tolerations)
		}
		for j := range requests[i].FirstAvailable {
			s := &requests[i].FirstAvailable[j]
			fill(&s.AllocationMode, &s.Count, s.Tolerations)
		}
	}
}

const (
	maxRequests  = 32
	maxSelectors = 32
	maxReserved  = 256
	maxDevices   = 128
)

func validateClaim(c *resourcev1.ResourceClaim) field.ErrorList {
	return validateClaimSpec(field.NewPath("spec"), &c.Spec)
}

func validateClaimSpec(p *field.Path, s *resourcev1.ResourceClaimSpec) field.ErrorList {
	at := p.Child("devices", "requests")
	var errs field.ErrorList
	if len(s.Devices.Requests) > maxRequests {
		errs = append(errs, field.TooMany(at, len(s.Devices.Requests), maxRequests))
	}
	names := sets.New[string]()
	for i, r := range s.Devices.Requests {
		rp := at.Index(i)
		errs = append(errs, requestName(rp.Child("name"), r.Name, names)...)
		switch {
		case r.Exactly == nil && len(r.FirstAvailable) == 0:
			errs = append(errs, field.Required(rp, "exactly one of `exactly` or `firstAvailable` is required"))
		case r.Exactly != nil && len(r.FirstAvailable) > 0:
			errs = append(errs, field.Invalid(rp, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
		case r.Exactly != nil:
			errs = append(errs, validateRequest(rp.Child("exactly"), r.Exactly.DeviceClassName, r.Exactly.Selectors, r.Exactly.AllocationMode, r.Exactly.Count)...)
		default:
			if len(r.FirstAvailable) > 8 {
				errs = append(errs, field.TooMany(rp.Child("firstAvailable"), len(r.FirstAvailable), 8))
			}
			subs := sets.New[string]()
			for j, sub := range r.FirstAvailable {
				sp := rp.Child("firstAvailable").Index(j)
				errs = append(errs, requestName(sp.Child("name"), sub.Name, subs)...)
				errs = append(errs, validateRequest(sp, sub.DeviceClassName, sub.Selectors, sub.AllocationMode, sub.Count)...)
				names.Insert(r.Name + "/" + sub.Name)
			}
		}
	}
	check := func(lp *field.Path, list []string) {
		for i, name := range list {
			if !names.Has(name) {
				errs = append(errs, field.Invalid(lp.Index(i), name, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"))
			}
		}
	}
	for i, c := range s.Devices.Constraints {
		cp := p.Child("devices", "constraints").Index(i)
		check(cp.Child("requests"), c.Requests)
		if c.MatchAttribute == nil && c.DistinctAttribute == nil {
			errs = append(errs, field.Required(cp, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`))
		}
		if c.MatchAttribute != nil {
			errs = append(errs, fullyQualified(cp.Child("matchAttribute"), string(*c.MatchAttribute))...)
		}
	}
	for i, c := range s.Devices.Config {
		cp := p.Child("devices", "config").Index(i)
		check(cp.Child("requests"), c.Requests)
		if c.Opaque == nil {
			errs = append(errs, field.Required(cp, "exactly one configuration type is required"))
			continue
		}
		errs = append(errs, driver(cp.Child("opaque", "driver"), c.Opaque.Driver)...)
	}
	return errs
}

func requestName(p *field.Path, name string, taken sets.Set[string]) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	errs := meta.DNSLabel(p, name)
	if taken.Has(name) {
		errs = append(errs, field.Duplicate(p, name))
	}
	taken.Insert(name)
	return errs
}

func validateRequest(p *field.Path, class string, selectors []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64) field.ErrorList {
	errs := meta.RequiredName(p.Child("deviceClassName"), class)
	errs = append(errs, validateSelectors(p.Child("selectors"), selectors)...)
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			errs = append(errs, field.Invalid(p.Child("count"), count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode)))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if count <= 0 {
			errs = append(errs, field.Invalid(p.Child("count"), count, "must be greater than zero"))
		}
	default:
		errs = append(errs, field.NotSupported(p.Child("allocationMode"), mode, []resourcev1.DeviceAllocationMode{resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount}))
	}
	return errs
}

// validateSelectors checks presence; expressions are compiled where they are evaluated.
func validateSelectors(p *field.Path, selectors []resourcev1.DeviceSelector) field.ErrorList {
	var errs field.ErrorList
	if len(selectors) > maxSelectors {
		errs = append(errs, field.TooMany(p, len(selectors), maxSelectors))
	}
	for i, s := range selectors {
		switch {
		case s.CEL == nil:
			errs = append(errs, field.Required(p.Index(i).Child("cel"), ""))
		case strings.TrimSpace(s.CEL.Expression) == "":
			errs = append(errs, field.Required(p.Index(i).Child("cel", "expression"), ""))
		case len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength:
			errs = append(errs, field.TooLong(p.Index(i).Child("cel", "expression"), "", resourcev1.CELSelectorExpressionMaxLength))
		}
	}
	return errs
}

func driver(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	if len(name) > resourcev1.DriverNameMaxLength {
		errs = append(errs, field.TooLong(p, "", resourcev1.DriverNameMaxLength))
	}
	return append(errs, meta.DNSSubdomain(p, strings.ToLower(name))...)
}

func fullyQualified(p *field.Path, name string) field.ErrorList {
	domain, id, ok := strings.Cut(name, "/")
	if !ok {
		return field.ErrorList{field.Invalid(p, name, "must include a domain")}
	}
	errs := meta.DNSSubdomain(p, domain)
	if id == "" {
		errs = append(errs, field.Invalid(p, name, "the name must not be empty"))
	}
	return errs
}

func validateClaimUpdate(new, old *resourcev1.ResourceClaim) field.ErrorList {
	return append(validateClaim(new), meta.Immutable(field.NewPath("spec"), new.Spec, old.Spec)...)
}

func validateClaimStatus(new, old *resourcev1.ResourceClaim) field.ErrorList {
	p := field.NewPath("status")
	var errs field.ErrorList
	if len(new.Status.ReservedFor) > maxReserved {
		errs = append(errs, field.TooMany(p.Child("reservedFor"), len(new.Status.ReservedFor), maxReserved))
	}
	seen := sets.New[string]()
	for i, r := range new.Status.ReservedFor {
		at := p.Child("reservedFor").Index(i)
		errs = append(errs, meta.Required(at.Child("resource"), r.Resource)...)
		errs = append(errs, meta.Required(at.Child("name"), r.Name)...)
		errs = append(errs, meta.Required(at.Child("uid"), string(r.UID))...)
		if seen.Has(string(r.UID)) {
			errs = append(errs, field.Duplicate(at.Child("uid"), r.UID))
		}
		seen.Insert(string(r.UID))
	}
	if len(new.Status.ReservedFor) > 0 && new.Status.Allocation == nil {
		errs = append(errs, field.Forbidden(p.Child("reservedFor"), "may not be specified when `allocated` is not set"))
	}
	if new.DeletionTimestamp != nil && old.Status.Allocation == nil && new.Status.Allocation != nil {
		errs = append(errs, field.Forbidden(p.Child("allocation"), "claim is being deleted: cannot be allocated"))
	}
	if old.Status.Allocation != nil && new.Status.Allocation != nil {
		errs = append(errs, meta.Immutable(p.Child("allocation"), new.Status.Allocation, old.Status.Allocation)...)
	}
	return errs
}

func validateClaimTemplate(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
	p := field.NewPath("spec")
	errs := meta.Labels(p.Child("metadata", "labels"), t.Spec.Labels)
	return append(errs, validateClaimSpec(p.Child("spec"), &t.Spec.Spec)...)
}

func validateClaimTemplateUpdate(new, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	return append(validateClaimTemplate(new), meta.Immutable(field.NewPath("spec"), new.Spec, old.Spec)...)
}

func validateDeviceClass(c *resourcev1.DeviceClass) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateSelectors(p.Child("selectors"), c.Spec.Selectors)
	for i, config := range c.Spec.Config {
		at := p.Child("config").Index(i)
		if config.Opaque == nil {
			errs = append(errs, field.Required(at, "exactly one configuration type is required"))
			continue
		}
		errs = append(errs, driver(at.Child("opaque", "driver"), config.Opaque.Driver)...)
	}
	return errs
}

func validateSlice(s *resourcev1.ResourceSlice) field.ErrorList {
	p, spec := field.NewPath("spec"), &s.Spec
	errs := driver(p.Child("driver"), spec.Driver)
	if spec.Pool.Name == "" {
		errs = append(errs, field.Required(p.Child("pool", "name"), ""))
	} else {
		for _, part := range strings.Split(spec.Pool.Name, "/") {
			errs = append(errs, meta.DNSSubdomain(p.Child("pool", "name"), part)...)
		}
	}
	if spec.Pool.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(p.Child("pool", "resourceSliceCount"), spec.Pool.ResourceSliceCount, "must be greater than zero"))
	}
	errs = append(errs, meta.NonNegative(p.Child("pool", "generation"), spec.Pool.Generation)...)
	n := 0
	if spec.NodeName != nil {
		n++
		errs = append(errs, meta.RequiredName(p.Child("nodeName"), *spec.NodeName)...)
	}
	if spec.NodeSelector != nil {
		n++
		errs = append(errs, core.ValidateNodeSelector(p.Child("nodeSelector"), spec.NodeSelector)...)
		if len(spec.NodeSelector.NodeSelectorTerms) != 1 {
			errs = append(errs, field.Invalid(p.Child("nodeSelector", "nodeSelectorTerms"), spec.NodeSelector.NodeSelectorTerms, "must have exactly one node selector term"))
		}
	}
	if ptr.Deref(spec.AllNodes, false) {
		n++
	}
	if ptr.Deref(spec.PerDeviceNodeSelection, false) {
		n++
	}
	const oneOf = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	switch {
	case n == 0:
		errs = append(errs, field.Required(p, oneOf))
	case n > 1:
		errs = append(errs, field.Invalid(p, nil, oneOf+", but multiple fields are set"))
	}
	if len(spec.Devices) > maxDevices {
		errs = append(errs, field.TooMany(p.Child("devices"), len(spec.Devices), maxDevices))
	}
	names := sets.New[string]()
	for i, d := range spec.Devices {
		at := p.Child("devices").Index(i)
		errs = append(errs, requestName(at.Child("name"), d.Name, names)...)
		for j, taint := range d.Taints {
			tp := at.Child("taints").Index(j)
			errs = append(errs, meta.QualifiedName(tp.Child("key"), taint.Key)...)
			errs = append(errs, meta.OneOf(tp.Child("effect"), taint.Effect, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNone)...)
		}
	}
	return errs
}

func validateSliceUpdate(new, old *resourcev1.ResourceSlice) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateSlice(new)
	errs = append(errs, meta.Immutable(p.Child("nodeName"), new.Spec.NodeName, old.Spec.NodeName)...)
	errs = append(errs, meta.Immutable(p.Child("driver"), new.Spec.Driver, old.Spec.Driver)...)
	return append(errs, meta.Immutable(p.Child("pool", "name"), new.Spec.Pool.Name, old.Spec.Pool.Name)...)
}

func sliceFields(s *resourcev1.ResourceSlice) fields.Set {
	return fields.Set{"spec.nodeName": ptr.Deref(s.Spec.NodeName, ""), "spec.driver": s.Spec.Driver}
}

func claimColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("State", "A summary of the current state (allocated, pending, reserved, etc.).", func(c *resourcev1.ResourceClaim) string {
			var states []string
			if c.DeletionTimestamp != nil {
				states = append(states, "deleted")
			}
			switch {
			case c.Status.Allocation == nil && c.DeletionTimestamp == nil:
				states = append(states, "pending")
			case c.Status.Allocation != nil:
				states = append(states, "allocated")
			}
			if len(c.Status.ReservedFor) > 0 {
				states = append(states, "reserved")
			}
			return strings.Join(slices.Compact(states), ",")
		}),
		column.Age(),
	}
}

func sliceColumns() []api.Column {
	doc := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("Node", doc["nodeName"], func(s *resourcev1.ResourceSlice) string { return ptr.Deref(s.Spec.NodeName, column.Unset) }),
		column.Text("Driver", doc["driver"], func(s *resourcev1.ResourceSlice) string { return s.Spec.Driver }),
		column.Text("Pool", resourcev1.ResourcePool{}.SwaggerDoc()["name"], func(s *resourcev1.ResourceSlice) string { return s.Spec.Pool.Name }),
		column.Age(),
	}
}
