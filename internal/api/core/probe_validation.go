package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validateProbes(p *field.Path, c *corev1.Container, grace *int64) field.ErrorList {
	errs := validateProbe(p.Child("livenessProbe"), c.LivenessProbe, grace)
	if c.LivenessProbe != nil && c.LivenessProbe.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(p.Child("livenessProbe", "successThreshold"), c.LivenessProbe.SuccessThreshold, "must be 1"))
	}
	errs = append(errs, validateProbe(p.Child("readinessProbe"), c.ReadinessProbe, grace)...)
	if c.ReadinessProbe != nil && c.ReadinessProbe.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(p.Child("readinessProbe", "terminationGracePeriodSeconds"),
			*c.ReadinessProbe.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	errs = append(errs, validateProbe(p.Child("startupProbe"), c.StartupProbe, grace)...)
	if c.StartupProbe != nil && c.StartupProbe.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(p.Child("startupProbe", "successThreshold"), c.StartupProbe.SuccessThreshold, "must be 1"))
	}
	return errs
}

func validateProbe(p *field.Path, probe *corev1.Probe, grace *int64) field.ErrorList {
	if probe == nil {
		return nil
	}
	errs := validateHandler(p, handler{exec: probe.Exec, http: probe.HTTPGet, tcp: probe.TCPSocket, grpc: probe.GRPC}, grace)
	errs = append(errs, meta.NonNegative(p.Child("initialDelaySeconds"), probe.InitialDelaySeconds)...)
	errs = append(errs, meta.NonNegative(p.Child("timeoutSeconds"), probe.TimeoutSeconds)...)
	errs = append(errs, meta.NonNegative(p.Child("periodSeconds"), probe.PeriodSeconds)...)
	errs = append(errs, meta.NonNegative(p.Child("successThreshold"), probe.SuccessThreshold)...)
	errs = append(errs, meta.NonNegative(p.Child("failureThreshold"), probe.FailureThreshold)...)
	if g := probe.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		errs = append(errs, field.Invalid(p.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0"))
	}
	return errs
}

func validateLifecycle(p *field.Path, l *corev1.Lifecycle, grace *int64) field.ErrorList {
	if l == nil {
		return nil
	}
	var errs field.ErrorList
	if h := l.PostStart; h != nil {
		errs = append(errs, validateHandler(p.Child("postStart"), handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}, grace)...)
	}
	if h := l.PreStop; h != nil {
		errs = append(errs, validateHandler(p.Child("preStop"), handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}, grace)...)
	}
	return errs
}

// handler is what probes and hooks have in common.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func validateHandler(p *field.Path, h handler, grace *int64) field.ErrorList {
	var errs field.ErrorList
	n := 0
	take := func(name string, set bool, check func(at *field.Path) field.ErrorList) {
		if !set {
			return
		}
		n++
		if n > 1 {
			errs = append(errs, field.Forbidden(p.Child(name), "may not specify more than 1 handler type"))
			return
		}
		errs = append(errs, check(p.Child(name))...)
	}
	take("exec", h.exec != nil, func(at *field.Path) field.ErrorList {
		if len(h.exec.Command) == 0 {
			return field.ErrorList{field.Required(at.Child("command"), "")}
		}
		return nil
	})
	take("httpGet", h.http != nil, func(at *field.Path) field.ErrorList { return validateHTTPGet(at, h.http) })
	take("tcpSocket", h.tcp != nil, func(at *field.Path) field.ErrorList { return meta.PortNumOrName(at.Child("port"), h.tcp.Port) })
	take("grpc", h.grpc != nil, func(at *field.Path) field.ErrorList { return meta.Port(at.Child("port"), h.grpc.Port) })
	take("sleep", h.sleep != nil, func(at *field.Path) field.ErrorList {
		limit := int64(0)
		if grace != nil {
			limit = *grace
		}
		if h.sleep.Seconds < 0 || h.sleep.Seconds > limit {
			return field.ErrorList{field.Invalid(at, h.sleep.Seconds,
				"must be non-negative and less than terminationGracePeriodSeconds ("+int64String(limit)+")")}
		}
		return nil
	})
	if n == 0 {
		errs = append(errs, field.Required(p, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(p *field.Path, h *corev1.HTTPGetAction) field.ErrorList {
	var errs field.ErrorList
	if h.Path == "" {
		errs = append(errs, field.Required(p.Child("path"), ""))
	}
	errs = append(errs, meta.PortNumOrName(p.Child("port"), h.Port)...)
	if schemes := []corev1.URIScheme{corev1.URISchemeHTTP, corev1.URISchemeHTTPS}; !sets.New(schemes...).Has(h.Scheme) {
		errs = append(errs, field.NotSupported(p.Child("scheme"), h.Scheme, schemes))
	}
	for i, header := range h.HTTPHeaders {
		errs = append(errs, meta.Invalid(p.Child("httpHeaders").Index(i), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

// descendingPath: a relative path that does not climb.
func descendingPath(p *field.Path, value string) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(value, "/") {
		errs = append(errs, field.Invalid(p, value, "must be a relative path"))
	}
	return append(errs, noBacksteps(p, value)...)
}

func noBacksteps(p *field.Path, value string) field.ErrorList {
	for _, part := range strings.Split(value, "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(p, value, "must not contain '..'")}
		}
	}
	return nil
}
