package environ

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Sources is where values come from. ConfigMap and Secret read the pod's namespace and return an API NotFound error.
type Sources struct {
	ConfigMap       func(name string) (*corev1.ConfigMap, error)
	Secret          func(name string) (*corev1.Secret, error)
	File            func(volume, path string) ([]byte, error)
	Services        map[string]string // see Services
	PodIPs, HostIPs []string
	Allocatable     corev1.ResourceList
}

// Var is one variable.
type Var struct{ Name, Value string }

// Build returns the container's variables: services first, then envFrom, then env; a later one replaces an earlier one of
// its name in place. The map holds the same for expansions. Errors are worded for the container's waiting message.
func Build(pod *corev1.Pod, c *corev1.Container, src *Sources) ([]Var, map[string]string, error) {
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = value
	}
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			cm, err := src.ConfigMap(from.ConfigMapRef.Name)
			if apierrors.IsNotFound(err) && optional(from.ConfigMapRef.Optional) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			for _, k := range keys(cm.Data) {
				set(from.Prefix+k, cm.Data[k])
			}
		case from.SecretRef != nil:
			sec, err := src.Secret(from.SecretRef.Name)
			if apierrors.IsNotFound(err) && optional(from.SecretRef.Optional) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			for _, k := range keys(sec.Data) {
				set(from.Prefix+k, string(sec.Data[k]))
			}
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			scope := values
			if len(src.Services) > 0 {
				scope = make(map[string]string, len(values)+len(src.Services))
				for k, v := range src.Services {
					scope[k] = v
				}
				for k, v := range values {
					scope[k] = v
				}
			}
			set(e.Name, Expand(e.Value, scope))
			continue
		}
		value, ok, err := from(pod, c, e.ValueFrom, src)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			set(e.Name, value)
		}
	}
	for _, k := range keys(src.Services) {
		if _, ok := values[k]; !ok {
			set(k, src.Services[k])
		}
	}
	out := make([]Var, len(order))
	for i, name := range order {
		out[i] = Var{name, values[name]}
	}
	return out, values, nil
}

// from resolves one valueFrom; ok is false when an optional source is missing.
func from(pod *corev1.Pod, c *corev1.Container, v *corev1.EnvVarSource, src *Sources) (string, bool, error) {
	switch {
	case v.FieldRef != nil:
		s, err := Field(pod, v.FieldRef.FieldPath, src.PodIPs, src.HostIPs)
		return s, true, err
	case v.ResourceFieldRef != nil:
		target := c
		if n := v.ResourceFieldRef.ContainerName; n != "" && n != c.Name {
			if target = Container(pod, n); target == nil {
				return "", false, fmt.Errorf("container %q not found", n)
			}
		}
		s, err := Resource(target, v.ResourceFieldRef, src.Allocatable)
		return s, true, err
	case v.ConfigMapKeyRef != nil:
		ref := v.ConfigMapKeyRef
		cm, err := src.ConfigMap(ref.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && optional(ref.Optional) {
				return "", false, nil
			}
			return "", false, err
		}
		if s, ok := cm.Data[ref.Key]; ok {
			return s, true, nil
		}
		if optional(ref.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, pod.Namespace, ref.Name)
	case v.SecretKeyRef != nil:
		ref := v.SecretKeyRef
		sec, err := src.Secret(ref.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && optional(ref.Optional) {
				return "", false, nil
			}
			return "", false, err
		}
		if s, ok := sec.Data[ref.Key]; ok {
			return string(s), true, nil
		}
		if optional(ref.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, pod.Namespace, ref.Name)
	case v.FileKeyRef != nil && src.File != nil:
		ref := v.FileKeyRef
		data, err := src.File(ref.VolumeName, ref.Path)
		if err != nil {
			if optional(ref.Optional) {
				return "", false, nil
			}
			return "", false, fmt.Errorf("couldn't parse env file %q in volume %q: %w", ref.Path, ref.VolumeName, err)
		}
		vars, err := ParseFile(data)
		if err != nil {
			return "", false, fmt.Errorf("couldn't parse env file %q in volume %q: %w", ref.Path, ref.VolumeName, err)
		}
		if s, ok := vars[ref.Key]; ok {
			return s, true, nil
		}
		if optional(ref.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
	}
	return "", false, nil
}

// Container finds a container of any list by name.
func Container(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func optional(b *bool) bool { return b != nil && *b }

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
