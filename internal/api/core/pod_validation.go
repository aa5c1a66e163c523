package core

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

// specScope tells where a pod spec stands: in a pod more is known, and so demanded, than in a template.
type specScope struct {
	pod bool
	// update: the object was stored before, so values that older rules let in stay valid.
	update bool
}

func validatePod(pod *corev1.Pod) field.ErrorList {
	errs := validatePodObject(pod, specScope{pod: true})
	if len(pod.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "ephemeralContainers"), "cannot be set on create"))
	}
	return errs
}

func validatePodObject(pod *corev1.Pod, scope specScope) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validatePodAnnotations(field.NewPath("metadata", "annotations"), pod.Annotations, &pod.Spec)
	errs = append(errs, validatePodSpec(spec, &pod.Spec, scope)...)
	for i := range pod.Spec.Containers {
		errs = append(errs, validateImageSpaces(spec.Child("containers").Index(i), pod.Spec.Containers[i].Image)...)
	}
	for i := range pod.Spec.InitContainers {
		errs = append(errs, validateImageSpaces(spec.Child("initContainers").Index(i), pod.Spec.InitContainers[i].Image)...)
	}
	if pod.Spec.ServiceAccountName == "" {
		for i, v := range pod.Spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for j, source := range v.Projected.Sources {
				if source.ServiceAccountToken != nil {
					errs = append(errs, field.Forbidden(spec.Child("volumes").Index(i).Child("projected", "sources").Index(j),
						"must not be specified when serviceAccountName is not set"))
				}
			}
		}
	}
	return errs
}

func validateImageSpaces(p *field.Path, image string) field.ErrorList {
	if image != strings.TrimSpace(image) {
		return field.ErrorList{field.Invalid(p.Child("image"), image, "must not have leading or trailing whitespace")}
	}
	return nil
}

func validatePodAnnotations(p *field.Path, annotations map[string]string, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if value, mirror := annotations[corev1.MirrorPodAnnotationKey]; mirror && spec.NodeName == "" {
		errs = append(errs, field.Invalid(p.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set"))
	}
	return errs
}

// ValidatePodTemplate checks a template inside a workload.
func ValidatePodTemplate(p *field.Path, t *corev1.PodTemplateSpec) field.ErrorList {
	errs := meta.Labels(p.Child("labels"), t.Labels)
	errs = append(errs, validateAnnotations(p.Child("annotations"), t.Annotations)...)
	errs = append(errs, validatePodAnnotations(p.Child("annotations"), t.Annotations, &t.Spec)...)
	errs = append(errs, validatePodSpec(p.Child("spec"), &t.Spec, specScope{})...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(p.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

func validatePodSpec(p *field.Path, spec *corev1.PodSpec, scope specScope) field.ErrorList {
	volumes, errs := validateVolumes(p.Child("volumes"), spec.Volumes)
	claims := sets.New[string]()
	errs = append(errs, validateResourceClaims(p.Child("resourceClaims"), spec.ResourceClaims, claims)...)
	c := containerScope{volumes: volumes, claims: claims, spec: spec, specScope: scope}
	errs = append(errs, c.containers(p.Child("containers"))...)
	errs = append(errs, c.initContainers(p.Child("initContainers"))...)
	errs = append(errs, c.ephemeralContainers(p.Child("ephemeralContainers"))...)
	errs = append(errs, validatePodResources(p.Child("resources"), spec)...)

	switch policies := []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}; {
	case spec.RestartPolicy == "":
		errs = append(errs, field.Required(p.Child("restartPolicy"), ""))
	case !slices.Contains(policies, spec.RestartPolicy):
		errs = append(errs, field.NotSupported(p.Child("restartPolicy"), spec.RestartPolicy, policies))
	}
	errs = append(errs, meta.OneOf(p.Child("dnsPolicy"), spec.DNSPolicy,
		corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, meta.Labels(p.Child("nodeSelector"), spec.NodeSelector)...)
	errs = append(errs, validatePodSecurity(p, spec, scope)...)
	errs = append(errs, validateAffinity(p.Child("affinity"), spec.Affinity)...)
	errs = append(errs, validateDNSConfig(p.Child("dnsConfig"), spec.DNSConfig, spec.DNSPolicy)...)
	for i, g := range spec.ReadinessGates {
		errs = append(errs, meta.QualifiedName(p.Child("readinessGates").Index(i).Child("conditionType"), string(g.ConditionType))...)
	}
	gates := sets.New[string]()
	for i, g := range spec.SchedulingGates {
		at := p.Child("schedulingGates").Index(i)
		errs = append(errs, meta.QualifiedName(at, g.Name)...)
		if gates.Has(g.Name) {
			errs = append(errs, field.Duplicate(at, g.Name))
		}
		gates.Insert(g.Name)
	}
	if scope.pod && !scope.update && spec.NodeName != "" && len(spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(p.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	errs = append(errs, validateSpread(p.Child("topologySpreadConstraints"), spec.TopologySpreadConstraints)...)

	if spec.ServiceAccountName != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("serviceAccountName"), spec.ServiceAccountName)...)
	}
	if spec.NodeName != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("nodeName"), spec.NodeName)...)
	}
	if v := spec.ActiveDeadlineSeconds; v != nil && (*v < 1 || *v > math.MaxInt32) {
		errs = append(errs, field.Invalid(p.Child("activeDeadlineSeconds"), *v, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if spec.Hostname != "" {
		errs = append(errs, meta.DNSLabel(p.Child("hostname"), spec.Hostname)...)
	}
	if spec.Subdomain != "" {
		errs = append(errs, meta.DNSLabel(p.Child("subdomain"), spec.Subdomain)...)
	}
	if h := spec.HostnameOverride; h != nil {
		at := p.Child("hostnameOverride")
		errs = append(errs, meta.DNSSubdomain(at, *h)...)
		if len(*h) > 64 {
			errs = append(errs, field.TooLong(at, "", 64))
		}
		if spec.SetHostnameAsFQDN != nil && *spec.SetHostnameAsFQDN {
			errs = append(errs, field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
		}
		if spec.HostNetwork {
			errs = append(errs, field.Forbidden(at, "may not be specified when hostNetwork is true"))
		}
	}
	errs = append(errs, ValidateTolerations(p.Child("tolerations"), spec.Tolerations)...)
	for i, alias := range spec.HostAliases {
		errs = append(errs, validation.IsValidIPForLegacyField(p.Child("hostAliases").Index(i).Child("ip"), alias.IP, !scope.update, nil)...)
		for j, name := range alias.Hostnames {
			errs = append(errs, meta.DNSSubdomain(p.Child("hostAliases").Index(i).Child("hostnames").Index(j), name)...)
		}
	}
	if spec.PriorityClassName != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("priorityClassName"), spec.PriorityClassName)...)
	}
	if spec.RuntimeClassName != nil {
		errs = append(errs, meta.DNSSubdomain(p.Child("runtimeClassName"), *spec.RuntimeClassName)...)
	}
	if spec.PreemptionPolicy != nil {
		errs = append(errs, ValidatePreemptionPolicy(p.Child("preemptionPolicy"), *spec.PreemptionPolicy)...)
	}
	for name, q := range spec.Overhead {
		at := p.Child("overhead").Key(string(name))
		errs = append(errs, validateResourceName(at, string(name), containerResources)...)
		errs = append(errs, ValidateQuantity(at, name, q)...)
	}
	errs = append(errs, validateOS(p, spec)...)
	return errs
}

// ValidatePreemptionPolicy checks the policy of pods and priority classes.
func ValidatePreemptionPolicy(p *field.Path, policy corev1.PreemptionPolicy) field.ErrorList {
	return meta.OneOf(p, policy, corev1.PreemptLowerPriority, corev1.PreemptNever)
}

func validateOS(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	if spec.OS == nil {
		return nil
	}
	at := p.Child("os", "name")
	if spec.OS.Name == "" {
		return field.ErrorList{field.Required(at, "cannot be empty")}
	}
	errs := meta.OneOf(at, spec.OS.Name, corev1.Linux, corev1.Windows)
	sc := spec.SecurityContext
	if sc == nil {
		sc = &corev1.PodSecurityContext{}
	}
	forbid := func(set bool, what string, path ...string) {
		if set {
			errs = append(errs, field.Forbidden(p.Child(path[0], path[1:]...), what))
		}
	}
	switch spec.OS.Name {
	case corev1.Linux:
		forbid(sc.WindowsOptions != nil, "windows options cannot be set for a linux pod", "securityContext", "windowsOptions")
		for i, c := range spec.Containers {
			if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
				errs = append(errs, field.Forbidden(p.Child("containers").Index(i).Child("securityContext", "windowsOptions"), "cannot be set for a linux pod"))
			}
		}
	case corev1.Windows:
		const no = "cannot be set for a windows pod"
		forbid(spec.HostPID, no, "hostPID")
		forbid(spec.HostIPC, no, "hostIPC")
		forbid(spec.HostUsers != nil, no, "hostUsers")
		forbid(spec.ShareProcessNamespace != nil, no, "shareProcessNamespace")
		forbid(sc.SELinuxOptions != nil, no, "securityContext", "seLinuxOptions")
		forbid(sc.SeccompProfile != nil, no, "securityContext", "seccompProfile")
		forbid(sc.AppArmorProfile != nil, no, "securityContext", "appArmorProfile")
		forbid(sc.FSGroup != nil, no, "securityContext", "fsGroup")
		forbid(sc.FSGroupChangePolicy != nil, no, "securityContext", "fsGroupChangePolicy")
		forbid(len(sc.Sysctls) > 0, no, "securityContext", "sysctls")
		forbid(sc.RunAsUser != nil, no, "securityContext", "runAsUser")
		forbid(sc.RunAsGroup != nil, no, "securityContext", "runAsGroup")
		forbid(len(sc.SupplementalGroups) > 0, no, "securityContext", "supplementalGroups")
		forbid(sc.SupplementalGroupsPolicy != nil, no, "securityContext", "supplementalGroupsPolicy")
	}
	return errs
}

func validateResourceClaims(p *field.Path, claims []corev1.PodResourceClaim, names sets.Set[string]) field.ErrorList {
	var errs field.ErrorList
	for i, c := range claims {
		at := p.Index(i)
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names.Has(c.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			errs = append(errs, meta.DNSLabel(at.Child("name"), c.Name)...)
			names.Insert(c.Name)
		}
		if c.ResourceClaimName != nil && c.ResourceClaimTemplateName != nil {
			errs = append(errs, field.Invalid(at, c, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		}
		if c.ResourceClaimName == nil && c.ResourceClaimTemplateName == nil {
			errs = append(errs, field.Invalid(at, c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
		if c.ResourceClaimName != nil {
			errs = append(errs, meta.DNSSubdomain(at.Child("resourceClaimName"), *c.ResourceClaimName)...)
		}
		if c.ResourceClaimTemplateName != nil {
			errs = append(errs, meta.DNSSubdomain(at.Child("resourceClaimTemplateName"), *c.ResourceClaimTemplateName)...)
		}
	}
	return errs
}

const (
	maxNameservers  = 3
	maxSearchPaths  = 32
	maxSearchLength = 2048
)

func validateDNSConfig(p *field.Path, c *corev1.PodDNSConfig, policy corev1.DNSPolicy) field.ErrorList {
	var errs field.ErrorList
	if policy == corev1.DNSNone && (c == nil || len(c.Nameservers) == 0) {
		if c == nil {
			return field.ErrorList{field.Required(p, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))}
		}
		errs = append(errs, field.Required(p.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
	}
	if c == nil {
		return errs
	}
	if len(c.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(p.Child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %v nameservers", maxNameservers)))
	}
	for i, ns := range c.Nameservers {
		errs = append(errs, validation.IsValidIPForLegacyField(p.Child("nameservers").Index(i), ns, false, nil)...)
	}
	if len(c.Searches) > maxSearchPaths {
		errs = append(errs, field.Invalid(p.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %v search paths", maxSearchPaths)))
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchLength {
		errs = append(errs, field.Invalid(p.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", maxSearchLength)))
	}
	for i, s := range c.Searches {
		if s == "." {
			continue
		}
		errs = append(errs, meta.Invalid(p.Child("searches").Index(i), s, validation.IsDNS1123SubdomainWithUnderscore(strings.TrimSuffix(s, ".")))...)
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(p.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

// ValidateTolerations checks tolerations, of pods and of runtime classes.
func ValidateTolerations(p *field.Path, tolerations []corev1.Toleration) field.ErrorList {
	var errs field.ErrorList
	for i, t := range tolerations {
		at := p.Index(i)
		if t.Key != "" {
			errs = append(errs, meta.QualifiedName(at.Child("key"), t.Key)...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			errs = append(errs, meta.Invalid(at.Child("operator"), t.Value, validation.IsValidLabelValue(t.Value))...)
		case corev1.TolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'"))
			}
		default:
			errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Effect != "" {
			errs = append(errs, validateTaintEffect(at.Child("effect"), t.Effect)...)
		}
	}
	return errs
}

func validateTaintEffect(p *field.Path, effect corev1.TaintEffect) field.ErrorList {
	return meta.OneOf(p, effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func validatePodIPs(p *field.Path, ips []corev1.PodIP) field.ErrorList {
	var errs field.ErrorList
	var families []bool
	for i, ip := range ips {
		errs = append(errs, validation.IsValidIPForLegacyField(p.Index(i), ip.IP, false, nil)...)
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			families = append(families, a.Is4())
		}
	}
	if len(ips) > 1 && (len(ips) > 2 || len(families) == 2 && families[0] == families[1]) {
		errs = append(errs, field.Invalid(p, ips, "may specify no more than one IP for each IP family"))
	}
	var seen []string
	for i, ip := range ips {
		if slices.Contains(seen, ip.IP) {
			errs = append(errs, field.Duplicate(p.Index(i), ip))
		}
		seen = append(seen, ip.IP)
	}
	return errs
}
