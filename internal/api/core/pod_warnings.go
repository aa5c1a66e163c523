package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func podWarnings(new, old *corev1.Pod) []string {
	if old != nil && new.Generation == old.Generation {
		return nil // the spec is as it was
	}
	var out []string
	if old == nil {
		if messages := validation.IsDNS1123Label(new.Name); len(messages) > 0 && new.Name != "" {
			out = append(out, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", messages))
		}
	}
	return append(out, podSpecWarnings(field.NewPath("spec"), &new.Spec)...)
}

// PodTemplateWarnings are the warnings on a template inside a workload.
func PodTemplateWarnings(p *field.Path, new, old *corev1.PodTemplateSpec) []string {
	if old != nil && new == old {
		return nil
	}
	return podSpecWarnings(p.Child("spec"), &new.Spec)
}

var deprecatedNodeLabels = map[string]string{
	"beta.kubernetes.io/arch":                  `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                    `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region": `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":   `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":         `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
}

func podSpecWarnings(p *field.Path, spec *corev1.PodSpec) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }

	for _, k := range sortedKeys(spec.NodeSelector) {
		if text, deprecated := deprecatedNodeLabels[k]; deprecated {
			say("%s: %s", p.Child("nodeSelector").Key(k), text)
		}
	}
	for i, c := range spec.TopologySpreadConstraints {
		at := p.Child("topologySpreadConstraints").Index(i)
		if text, deprecated := deprecatedNodeLabels[c.TopologyKey]; deprecated {
			say("%s: %s is %s", at.Child("topologyKey"), c.TopologyKey, text)
		}
		if c.LabelSelector == nil {
			say("%s: a null labelSelector results in matching no pod", at.Child("labelSelector"))
		}
	}
	ips := map[string]bool{}
	for i, a := range spec.HostAliases {
		if ips[a.IP] {
			say("%s: duplicate ip %q", p.Child("hostAliases").Index(i).Child("ip"), a.IP)
		}
		ips[a.IP] = true
	}
	secrets := map[string]bool{}
	for i, s := range spec.ImagePullSecrets {
		at := p.Child("imagePullSecrets").Index(i)
		switch {
		case s.Name == "":
			say("%s: invalid empty name %q", at, s.Name)
		case secrets[s.Name]:
			say("%s: duplicate name %q", at, s.Name)
		}
		secrets[s.Name] = true
	}
	for i, v := range spec.Volumes {
		at := p.Child("volumes").Index(i)
		for _, d := range []struct {
			name string
			set  bool
			text string
		}{
			{"photonPersistentDisk", v.PhotonPersistentDisk != nil, "deprecated in v1.11, non-functional in v1.16+"},
			{"gitRepo", v.GitRepo != nil, "deprecated in v1.11, and disabled by default in v1.33+"},
			{"scaleIO", v.ScaleIO != nil, "deprecated in v1.16, non-functional in v1.22+"},
			{"flocker", v.Flocker != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"storageOS", v.StorageOS != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"quobyte", v.Quobyte != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"glusterfs", v.Glusterfs != nil, "deprecated in v1.25, non-functional in v1.26+"},
			{"cephfs", v.CephFS != nil, "deprecated in v1.28, non-functional in v1.31+"},
			{"rbd", v.RBD != nil, "deprecated in v1.28, non-functional in v1.31+"},
		} {
			if d.set {
				say("%s: %s", at.Child(d.name), d.text)
			}
		}
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			out = append(out, claimWarnings(at.Child("ephemeral", "volumeClaimTemplate", "spec"), &v.Ephemeral.VolumeClaimTemplate.Spec)...)
		}
	}
	if g := spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		say("%s: must be >= 0; negative values are invalid and will be treated as 1", p.Child("terminationGracePeriodSeconds"))
	}
	for name, list := range map[string][]corev1.Container{"containers": spec.Containers, "initContainers": spec.InitContainers} {
		for i := range list {
			out = append(out, containerWarnings(p.Child(name).Index(i), &list[i])...)
		}
	}
	return out
}

func containerWarnings(p *field.Path, c *corev1.Container) []string {
	var out []string
	for _, part := range []struct {
		name string
		list corev1.ResourceList
	}{{"limits", c.Resources.Limits}, {"requests", c.Resources.Requests}} {
		for _, name := range sortedResources(part.list) {
			q := part.list[name]
			bytes := name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage
			if bytes && q.MilliValue()%1000 != 0 {
				out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", p.Child("resources", part.name).Key(string(name)), q.String()))
			}
		}
	}
	last := map[string]int{}
	for i, e := range c.Env {
		at := p.Child("env").Index(i)
		if before, dup := last[e.Name]; dup {
			refers := strings.Contains(e.Value, "$("+e.Name+")")
			if !refers {
				out = append(out, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply", at, c.Env[before].Name))
			}
		}
		last[e.Name] = i
	}
	type port struct {
		number   int32
		protocol corev1.Protocol
		host     int32
		ip       string
	}
	first := map[port]int{}
	for i, e := range c.Ports {
		k := port{e.ContainerPort, e.Protocol, e.HostPort, e.HostIP}
		if before, dup := first[k]; dup {
			out = append(out, fmt.Sprintf("%s: duplicate port definition with %s", p.Child("ports").Index(i), p.Child("ports").Index(before)))
			continue
		}
		first[k] = i
	}
	return out
}
