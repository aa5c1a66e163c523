package core

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

// containerScope is what a container's rules need to know of its pod.
type containerScope struct {
	specScope
	spec    *corev1.PodSpec
	volumes map[string]corev1.VolumeSource
	claims  sets.Set[string]
}

func (s containerScope) containers(p *field.Path) field.ErrorList {
	if len(s.spec.Containers) == 0 {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range s.spec.Containers {
		c, at := &s.spec.Containers[i], p.Index(i)
		errs = append(errs, s.common(at, c)...)
		errs = append(errs, takeName(names, at, c.Name)...)
		errs = append(errs, validateLifecycle(at.Child("lifecycle"), c.Lifecycle, s.spec.TerminationGracePeriodSeconds)...)
		errs = append(errs, validateProbes(at, c, s.spec.TerminationGracePeriodSeconds)...)
		errs = append(errs, validateRestartRules(at, c, false)...)
	}
	errs = append(errs, hostPortConflicts(p, s.spec.Containers)...)
	errs = append(errs, s.hostNetwork(p, s.spec.Containers)...)
	return errs
}

func (s containerScope) initContainers(p *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for _, c := range s.spec.Containers {
		names.Insert(c.Name)
	}
	for i := range s.spec.InitContainers {
		c, at := &s.spec.InitContainers[i], p.Index(i)
		errs = append(errs, s.common(at, c)...)
		errs = append(errs, takeName(names, at, c.Name)...)
		errs = append(errs, validateRestartRules(at, c, true)...)
		if sidecar(c) {
			errs = append(errs, validateLifecycle(at.Child("lifecycle"), c.Lifecycle, s.spec.TerminationGracePeriodSeconds)...)
			errs = append(errs, validateProbes(at, c, s.spec.TerminationGracePeriodSeconds)...)
		} else {
			for _, f := range []struct {
				name string
				set  bool
			}{
				{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
				{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
			} {
				if f.set {
					errs = append(errs, field.Forbidden(at.Child(f.name), "may not be set for init containers without restartPolicy=Always"))
				}
			}
		}
		if len(c.ResizePolicy) > 0 && !sidecar(c) {
			errs = append(errs, field.Invalid(at.Child("resizePolicy"), c.ResizePolicy, "must not be set for init containers without restartPolicy=Always"))
		}
		errs = append(errs, hostPortConflicts(p, s.spec.InitContainers[i:i+1])...)
	}
	errs = append(errs, s.hostNetwork(p, s.spec.InitContainers)...)
	return errs
}

func (s containerScope) ephemeralContainers(p *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, targets := sets.New[string](), sets.New[string]()
	for _, c := range s.spec.InitContainers {
		names.Insert(c.Name)
		if sidecar(&c) {
			targets.Insert(c.Name)
		}
	}
	for _, c := range s.spec.Containers {
		names.Insert(c.Name)
		targets.Insert(c.Name)
	}
	for i := range s.spec.EphemeralContainers {
		e, at := &s.spec.EphemeralContainers[i], p.Index(i)
		c := corev1.Container(e.EphemeralContainerCommon)
		errs = append(errs, s.common(at, &c)...)
		errs = append(errs, takeName(names, at, c.Name)...)
		if e.TargetContainerName != "" && !targets.Has(e.TargetContainerName) {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), e.TargetContainerName))
		}
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil}, {"ports", len(c.Ports) > 0},
			{"readinessProbe", c.ReadinessProbe != nil}, {"resizePolicy", len(c.ResizePolicy) > 0},
			{"resources", len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) > 0},
			{"restartPolicy", c.RestartPolicy != nil}, {"startupProbe", c.StartupProbe != nil},
		} {
			if f.set {
				errs = append(errs, field.Forbidden(at.Child(f.name), "cannot be set for an Ephemeral Container"))
			}
		}
		for j, m := range c.VolumeMounts {
			if m.SubPath != "" {
				errs = append(errs, field.Forbidden(at.Child("volumeMounts").Index(j).Child("subPath"), "cannot be set for an Ephemeral Container"))
			}
			if m.SubPathExpr != "" {
				errs = append(errs, field.Forbidden(at.Child("volumeMounts").Index(j).Child("subPathExpr"), "cannot be set for an Ephemeral Container"))
			}
		}
	}
	return errs
}

func takeName(names sets.Set[string], p *field.Path, name string) field.ErrorList {
	if name == "" {
		return nil // reported as required
	}
	if names.Has(name) {
		return field.ErrorList{field.Duplicate(p.Child("name"), name)}
	}
	names.Insert(name)
	return nil
}

// common holds the rules of all three kinds of containers.
func (s containerScope) common(p *field.Path, c *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	if c.Name == "" {
		errs = append(errs, field.Required(p.Child("name"), ""))
	} else {
		errs = append(errs, meta.DNSLabel(p.Child("name"), c.Name)...)
	}
	if strings.TrimSpace(c.Image) == "" && (s.pod || c.Image == "") {
		errs = append(errs, field.Required(p.Child("image"), ""))
	}
	errs = append(errs, meta.OneOf(p.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validatePorts(p.Child("ports"), c.Ports)...)
	errs = append(errs, s.env(p.Child("env"), c.Env)...)
	errs = append(errs, validateEnvFrom(p.Child("envFrom"), c.EnvFrom)...)
	errs = append(errs, s.mounts(p, c)...)
	errs = append(errs, s.devices(p.Child("volumeDevices"), c)...)
	errs = append(errs, meta.OneOf(p.Child("imagePullPolicy"), c.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validateContainerResources(p.Child("resources"), &c.Resources, s.claims)...)
	errs = append(errs, validateResizePolicy(p.Child("resizePolicy"), c.ResizePolicy, s.spec.RestartPolicy)...)
	errs = append(errs, validateContainerSecurity(p.Child("securityContext"), c.SecurityContext, s.spec)...)
	return errs
}

func validateRestartRules(p *field.Path, c *corev1.Container, init bool) field.ErrorList {
	var errs field.ErrorList
	if c.RestartPolicy == nil {
		if len(c.RestartPolicyRules) > 0 {
			errs = append(errs, field.Required(p.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
		}
		return errs
	}
	errs = append(errs, meta.OneOf(p.Child("restartPolicy"), *c.RestartPolicy,
		corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	if init && sidecar(c) && len(c.RestartPolicyRules) > 0 {
		errs = append(errs, field.Forbidden(p.Child("restartPolicyRules"), "restartPolicyRules are not allowed for init containers with restart policy Always"))
	}
	if len(c.RestartPolicyRules) > 20 {
		errs = append(errs, field.TooMany(p.Child("restartPolicyRules"), len(c.RestartPolicyRules), 20))
	}
	for i, rule := range c.RestartPolicyRules {
		at := p.Child("restartPolicyRules").Index(i)
		errs = append(errs, meta.OneOf(at.Child("action"), rule.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if rule.ExitCodes == nil {
			errs = append(errs, field.Required(at.Child("exitCodes"), "must be specified"))
			continue
		}
		errs = append(errs, meta.OneOf(at.Child("exitCodes", "operator"), rule.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if len(rule.ExitCodes.Values) > 255 {
			errs = append(errs, field.TooMany(at.Child("exitCodes", "values"), len(rule.ExitCodes.Values), 255))
		}
	}
	return errs
}

func validatePorts(p *field.Path, ports []corev1.ContainerPort) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, port := range ports {
		at := p.Index(i)
		if port.Name != "" {
			if messages := validation.IsValidPortName(port.Name); len(messages) > 0 {
				errs = append(errs, meta.Invalid(at.Child("name"), port.Name, messages)...)
			} else if names.Has(port.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
			} else {
				names.Insert(port.Name)
			}
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, meta.Port(at.Child("containerPort"), port.ContainerPort)...)
		}
		if port.HostPort != 0 {
			errs = append(errs, meta.Port(at.Child("hostPort"), port.HostPort)...)
		}
		if port.HostIP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("hostIP"), port.HostIP, false, nil)...)
		}
		errs = append(errs, validateProtocol(at.Child("protocol"), port.Protocol)...)
	}
	return errs
}

func validateProtocol(p *field.Path, protocol corev1.Protocol) field.ErrorList {
	return meta.OneOf(p, protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
}

func hostPortConflicts(p *field.Path, containers []corev1.Container) field.ErrorList {
	var errs field.ErrorList
	taken := sets.New[string]()
	for i := range containers {
		for j, port := range containers[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
			if taken.Has(key) {
				errs = append(errs, field.Duplicate(p.Index(i).Child("ports").Index(j).Child("hostPort"), key))
			}
			taken.Insert(key)
		}
	}
	return errs
}

// hostNetwork: a template may leave the host port open, since it is filled in when the pod is made.
func (s containerScope) hostNetwork(p *field.Path, containers []corev1.Container) field.ErrorList {
	if !s.spec.HostNetwork {
		return nil
	}
	var errs field.ErrorList
	for i := range containers {
		for j, port := range containers[i].Ports {
			if (s.pod || port.HostPort != 0) && port.HostPort != port.ContainerPort {
				errs = append(errs, field.Invalid(p.Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort,
					"must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
	return errs
}

var (
	envFields      = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	downwardFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	resourceFields = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"}
	subscript      = regexp.MustCompile(`^(metadata\.(?:labels|annotations))\['(.*)'\]$`)
)

func (s containerScope) env(p *field.Path, vars []corev1.EnvVar) field.ErrorList {
	var errs field.ErrorList
	for i, v := range vars {
		at := p.Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, meta.Invalid(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))...)
		}
		if v.ValueFrom != nil {
			errs = append(errs, s.envSource(at.Child("valueFrom"), v)...)
		}
	}
	return errs
}

func (s containerScope) envSource(p *field.Path, v corev1.EnvVar) field.ErrorList {
	var errs field.ErrorList
	from, n := v.ValueFrom, 0
	if f := from.FieldRef; f != nil {
		n++
		errs = append(errs, validateFieldRef(p.Child("fieldRef"), f, envFields)...)
	}
	if r := from.ResourceFieldRef; r != nil {
		n++
		errs = append(errs, validateResourceFieldRef(p.Child("resourceFieldRef"), r, false)...)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		n++
		errs = append(errs, validateKeyRef(p.Child("configMapKeyRef"), r.Name, r.Key)...)
	}
	if r := from.SecretKeyRef; r != nil {
		n++
		errs = append(errs, validateKeyRef(p.Child("secretKeyRef"), r.Name, r.Key)...)
	}
	if r := from.FileKeyRef; r != nil {
		n++
		at := p.Child("fileKeyRef")
		if r.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		} else {
			errs = append(errs, meta.Invalid(at.Child("key"), r.Key, validation.IsEnvVarName(r.Key))...)
		}
		if r.VolumeName == "" {
			errs = append(errs, field.Required(at.Child("volumeName"), ""))
		} else if _, known := s.volumes[r.VolumeName]; !known {
			errs = append(errs, field.NotFound(at.Child("volumeName"), r.VolumeName))
		}
		if r.Path == "" {
			errs = append(errs, field.Required(at.Child("path"), ""))
		} else {
			errs = append(errs, descendingPath(at.Child("path"), r.Path)...)
		}
	}
	switch {
	case n == 0:
		errs = append(errs, field.Invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"))
	case v.Value != "":
		errs = append(errs, field.Invalid(p, "", "may not be specified when `value` is not empty"))
	case n > 1:
		errs = append(errs, field.Invalid(p, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateKeyRef(p *field.Path, name, key string) field.ErrorList {
	// An empty name is let in, as upstream must for old objects.
	var errs field.ErrorList
	if name != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("name"), name)...)
	}
	if key == "" {
		return append(errs, field.Required(p.Child("key"), ""))
	}
	return append(errs, meta.Invalid(p.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateFieldRef(p *field.Path, f *corev1.ObjectFieldSelector, supported []string) field.ErrorList {
	switch {
	case f.APIVersion == "":
		return field.ErrorList{field.Required(p.Child("apiVersion"), "")}
	case f.FieldPath == "":
		return field.ErrorList{field.Required(p.Child("fieldPath"), "")}
	case f.APIVersion != "v1":
		return field.ErrorList{field.Invalid(p.Child("fieldPath"), f.FieldPath, fmt.Sprintf("error converting fieldPath: unsupported pod version: %s", f.APIVersion))}
	}
	if m := subscript.FindStringSubmatch(f.FieldPath); m != nil {
		key := m[2]
		if m[1] == "metadata.annotations" {
			key = strings.ToLower(key)
		}
		return meta.QualifiedName(p, key)
	}
	if strings.Contains(f.FieldPath, "[") {
		return field.ErrorList{field.Invalid(p, f.FieldPath, "does not support subscript")}
	}
	known := append(slices.Clone(envFields), "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase", "status.nominatedNodeName")
	if !slices.Contains(known, f.FieldPath) {
		return field.ErrorList{field.Invalid(p.Child("fieldPath"), f.FieldPath, fmt.Sprintf("error converting fieldPath: field label not supported: %s", f.FieldPath))}
	}
	if !slices.Contains(supported, f.FieldPath) {
		return field.ErrorList{field.NotSupported(p.Child("fieldPath"), f.FieldPath, supported)}
	}
	return nil
}

func validateResourceFieldRef(p *field.Path, r *corev1.ResourceFieldSelector, volume bool) field.ErrorList {
	switch {
	case volume && r.ContainerName == "":
		return field.ErrorList{field.Required(p.Child("containerName"), "")}
	case r.Resource == "":
		return field.ErrorList{field.Required(p.Child("resource"), "")}
	}
	if !slices.Contains(resourceFields, r.Resource) && !strings.HasPrefix(r.Resource, "limits.hugepages-") && !strings.HasPrefix(r.Resource, "requests.hugepages-") {
		return field.ErrorList{field.NotSupported(p.Child("resource"), r.Resource, resourceFields)}
	}
	divisor := r.Divisor.String()
	allowed := map[string][]string{
		"cpu":    {"1m", "1"},
		"memory": {"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"},
	}
	kind := "memory"
	if strings.HasSuffix(r.Resource, ".cpu") {
		kind = "cpu"
	}
	if divisor != "0" && !slices.Contains(allowed[kind], divisor) {
		what := map[string]string{"cpu": "only divisor's values 1m and 1 are supported with the cpu resource",
			"memory": "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"}[kind]
		return field.ErrorList{field.Invalid(p.Child("divisor"), divisor, what)}
	}
	return nil
}

func validateEnvFrom(p *field.Path, sources []corev1.EnvFromSource) field.ErrorList {
	var errs field.ErrorList
	for i, s := range sources {
		at := p.Index(i)
		if s.Prefix != "" {
			errs = append(errs, meta.Invalid(at.Child("prefix"), s.Prefix, validation.IsRelaxedEnvVarName(s.Prefix))...)
		}
		n := 0
		if s.ConfigMapRef != nil {
			n++
			if errs = append(errs, meta.Required(at.Child("configMapRef", "name"), s.ConfigMapRef.Name)...); s.ConfigMapRef.Name != "" {
				errs = append(errs, meta.DNSSubdomain(at.Child("configMapRef", "name"), s.ConfigMapRef.Name)...)
			}
		}
		if s.SecretRef != nil {
			n++
			if errs = append(errs, meta.Required(at.Child("secretRef", "name"), s.SecretRef.Name)...); s.SecretRef.Name != "" {
				errs = append(errs, meta.DNSSubdomain(at.Child("secretRef", "name"), s.SecretRef.Name)...)
			}
		}
		switch n {
		case 0:
			errs = append(errs, field.Invalid(p, "", "must specify one of: `configMapRef` or `secretRef`"))
		case 2:
			errs = append(errs, field.Invalid(p, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

func (s containerScope) mounts(p *field.Path, c *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	paths, devices := sets.New[string](), sets.New[string]()
	for _, d := range c.VolumeDevices {
		devices.Insert(d.DevicePath)
	}
	for i, m := range c.VolumeMounts {
		at := p.Child("volumeMounts").Index(i)
		source, known := s.volumes[m.Name]
		switch {
		case m.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case !known:
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if paths.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		if devices.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
		}
		if m.SubPath != "" {
			errs = append(errs, descendingPath(at.Child("subPath"), m.SubPath)...)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
			}
			errs = append(errs, descendingPath(at.Child("subPathExpr"), m.SubPathExpr)...)
		}
		if known && source.Image != nil && m.SubPath != "" && strings.HasPrefix(m.SubPath, "/") {
			errs = append(errs, field.Invalid(at.Child("subPath"), m.SubPath, "must be a relative path"))
		}
		if mode := m.MountPropagation; mode != nil {
			propagation := at.Child("mountPropagation")
			errs = append(errs, meta.OneOf(propagation, *mode, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
			privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
			if *mode == corev1.MountPropagationBidirectional && !privileged {
				errs = append(errs, field.Forbidden(propagation, "Bidirectional mount propagation is available only to privileged containers"))
			}
		}
		if mode := m.RecursiveReadOnly; mode != nil {
			recursive := at.Child("recursiveReadOnly")
			errs = append(errs, meta.OneOf(recursive, *mode, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled)...)
			if *mode == corev1.RecursiveReadOnlyEnabled || *mode == corev1.RecursiveReadOnlyIfPossible {
				if !m.ReadOnly {
					errs = append(errs, field.Forbidden(recursive, "may only be specified when readOnly is true"))
				}
				if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
					errs = append(errs, field.Forbidden(recursive, "may only be specified when mountPropagation is None or not specified"))
				}
			}
		}
	}
	return errs
}

func (s containerScope) devices(p *field.Path, c *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	names, paths, mounts := sets.New[string](), sets.New[string](), sets.New[string]()
	for _, m := range c.VolumeMounts {
		mounts.Insert(m.MountPath)
	}
	for i, d := range c.VolumeDevices {
		at := p.Index(i)
		source, known := s.volumes[d.Name]
		if d.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if names.Has(d.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), d.Name, "must be unique"))
		}
		names.Insert(d.Name)
		switch {
		case known && source.PersistentVolumeClaim == nil && source.Ephemeral == nil:
			errs = append(errs, field.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		case !known:
			errs = append(errs, field.NotFound(at.Child("name"), d.Name))
		}
		if d.DevicePath == "" {
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
			continue
		}
		if strings.Contains(d.DevicePath, "..") {
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must not contain '..'"))
		}
		if paths.Has(d.DevicePath) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must be unique"))
		}
		paths.Insert(d.DevicePath)
		if mounts.Has(d.DevicePath) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts"))
		}
	}
	return errs
}
