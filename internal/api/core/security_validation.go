package core

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func userID(p *field.Path, id *int64) field.ErrorList {
	if id == nil {
		return nil
	}
	return meta.Invalid(p, *id, validation.IsValidUserID(*id))
}

func groupID(p *field.Path, id *int64) field.ErrorList {
	if id == nil {
		return nil
	}
	return meta.Invalid(p, *id, validation.IsValidGroupID(*id))
}

const (
	sysctlSegment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
	sysctlFormat  = "(" + sysctlSegment + "[\\./])*" + sysctlSegment
	sysctlMax     = 253
)

var sysctlName = regexp.MustCompile("^" + sysctlFormat + "$")

func validatePodSecurity(p *field.Path, spec *corev1.PodSpec, scope specScope) field.ErrorList {
	sc := spec.SecurityContext
	if sc == nil {
		return nil
	}
	at := p.Child("securityContext")
	var errs field.ErrorList
	errs = append(errs, groupID(at.Child("fsGroup"), sc.FSGroup)...)
	errs = append(errs, userID(at.Child("runAsUser"), sc.RunAsUser)...)
	errs = append(errs, groupID(at.Child("runAsGroup"), sc.RunAsGroup)...)
	for i := range sc.SupplementalGroups {
		errs = append(errs, groupID(at.Child("supplementalGroups").Index(i), &sc.SupplementalGroups[i])...)
	}
	if v := sc.SupplementalGroupsPolicy; v != nil {
		errs = append(errs, meta.OneOf(at.Child("supplementalGroupsPolicy"), *v, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	if spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace && spec.HostPID {
		errs = append(errs, field.Invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	names := sets.New[string]()
	for i, s := range sc.Sysctls {
		name := at.Child("sysctls").Index(i).Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(name, ""))
		case len(s.Name) > sysctlMax || !sysctlName.MatchString(s.Name):
			errs = append(errs, field.Invalid(name, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", sysctlMax, "^"+sysctlFormat+"$")))
		case names.Has(canonicalSysctl(s.Name)):
			errs = append(errs, field.Duplicate(name, s.Name))
		}
		names.Insert(canonicalSysctl(s.Name))
		if !scope.update {
			c := canonicalSysctl(s.Name)
			if spec.HostNetwork && strings.HasPrefix(c, "net.") {
				errs = append(errs, field.Invalid(name, s.Name, "may not be specified when 'hostNetwork' is true"))
			}
			if spec.HostIPC && (strings.HasPrefix(c, "kernel.shm") || strings.HasPrefix(c, "kernel.msg") || c == "kernel.sem" || strings.HasPrefix(c, "fs.mqueue.")) {
				errs = append(errs, field.Invalid(name, s.Name, "may not be specified when 'hostIPC' is true"))
			}
		}
	}
	if v := sc.FSGroupChangePolicy; v != nil {
		errs = append(errs, meta.OneOf(at.Child("fsGroupChangePolicy"), *v, corev1.FSGroupChangeOnRootMismatch, corev1.FSGroupChangeAlways)...)
	}
	if v := sc.SELinuxChangePolicy; v != nil {
		errs = append(errs, meta.OneOf(at.Child("seLinuxChangePolicy"), *v, corev1.SELinuxChangePolicyRecursive, corev1.SELinuxChangePolicyMountOption)...)
	}
	errs = append(errs, validateSeccomp(at.Child("seccompProfile"), sc.SeccompProfile)...)
	errs = append(errs, validateAppArmor(at.Child("appArmorProfile"), sc.AppArmorProfile)...)
	if spec.HostUsers != nil && !*spec.HostUsers {
		const no = "when `hostUsers` is false"
		for _, f := range []struct {
			name string
			set  bool
		}{{"hostNetwork", spec.HostNetwork}, {"hostPID", spec.HostPID}, {"hostIPC", spec.HostIPC}} {
			if f.set {
				errs = append(errs, field.Forbidden(p.Child(f.name), no))
			}
		}
		// Source: the Kubernetes documentation of user namespaces, limitations.
		for _, f := range []struct {
			name string
			all  []corev1.Container
		}{{"initContainers", spec.InitContainers}, {"containers", spec.Containers}} {
			for i := range f.all {
				if len(f.all[i].VolumeDevices) > 0 {
					errs = append(errs, field.Forbidden(p.Child(f.name).Index(i).Child("volumeDevices"), no))
				}
			}
		}
	}
	return errs
}

// canonicalSysctl brings the slash form to the dot form.
func canonicalSysctl(name string) string {
	first := strings.IndexAny(name, "./")
	if first < 0 || name[first] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}

func validateSeccomp(p *field.Path, s *corev1.SeccompProfile) field.ErrorList {
	if s == nil {
		return nil
	}
	if s.Type == "" {
		return field.ErrorList{field.Required(p.Child("type"), "type is required when seccompProfile is set")}
	}
	errs := meta.OneOf(p.Child("type"), s.Type, corev1.SeccompProfileTypeUnconfined, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeLocalhost)
	if s.Type == corev1.SeccompProfileTypeLocalhost {
		if s.LocalhostProfile == nil {
			errs = append(errs, field.Required(p.Child("localhostProfile"), "must be set when seccomp type is Localhost"))
		} else {
			errs = append(errs, descendingPath(p.Child("localhostProfile"), *s.LocalhostProfile)...)
		}
	} else if s.LocalhostProfile != nil {
		errs = append(errs, field.Invalid(p.Child("localhostProfile"), *s.LocalhostProfile, "can only be set when seccomp type is Localhost"))
	}
	return errs
}

func validateAppArmor(p *field.Path, a *corev1.AppArmorProfile) field.ErrorList {
	if a == nil {
		return nil
	}
	if a.Type == "" {
		return field.ErrorList{field.Required(p.Child("type"), "type is required when appArmorProfile is set")}
	}
	errs := meta.OneOf(p.Child("type"), a.Type, corev1.AppArmorProfileTypeUnconfined, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeLocalhost)
	at := p.Child("localhostProfile")
	switch {
	case a.Type == corev1.AppArmorProfileTypeLocalhost && a.LocalhostProfile == nil:
		errs = append(errs, field.Required(at, "must be set when AppArmor type is Localhost"))
	case a.Type == corev1.AppArmorProfileTypeLocalhost:
		profile := strings.TrimSpace(*a.LocalhostProfile)
		if profile != *a.LocalhostProfile {
			errs = append(errs, field.Invalid(at, *a.LocalhostProfile, "must not be padded with whitespace"))
		} else if profile == "" {
			errs = append(errs, field.Required(at, "must be set when AppArmor type is Localhost"))
		}
		if len(*a.LocalhostProfile) > 4095 {
			errs = append(errs, field.TooLong(at, "", 4095))
		}
	case a.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(at, *a.LocalhostProfile, "can only be set when AppArmor type is Localhost"))
	}
	return errs
}

func validateContainerSecurity(p *field.Path, sc *corev1.SecurityContext, spec *corev1.PodSpec) field.ErrorList {
	if sc == nil {
		return nil
	}
	var errs field.ErrorList
	errs = append(errs, userID(p.Child("runAsUser"), sc.RunAsUser)...)
	errs = append(errs, groupID(p.Child("runAsGroup"), sc.RunAsGroup)...)
	if v := sc.ProcMount; v != nil {
		errs = append(errs, meta.OneOf(p.Child("procMount"), *v, corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
		if *v == corev1.UnmaskedProcMount && (spec.HostUsers == nil || *spec.HostUsers) {
			errs = append(errs, field.Invalid(p.Child("procMount"), *v, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	errs = append(errs, validateSeccomp(p.Child("seccompProfile"), sc.SeccompProfile)...)
	errs = append(errs, validateAppArmor(p.Child("appArmorProfile"), sc.AppArmorProfile)...)
	if v := sc.AllowPrivilegeEscalation; v != nil && !*v {
		if sc.Privileged != nil && *sc.Privileged {
			errs = append(errs, field.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if sc.Capabilities != nil {
			for _, c := range sc.Capabilities.Add {
				if c == "CAP_SYS_ADMIN" {
					errs = append(errs, field.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
				}
			}
		}
	}
	return errs
}
