package authz

import (
	corev1 "k8s.io/api/core/v1"
)

// podReferences lists what a pod's node must be able to read for it. A mirror pod speaks for a file on the node: it entitles to nothing.
func podReferences(p *corev1.Pod) []ref {
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return nil
	}
	c := &collector{namespace: p.Namespace, seen: map[ref]struct{}{}}
	c.add(accountRef, p.Spec.ServiceAccountName)
	for _, s := range p.Spec.ImagePullSecrets {
		c.add(secretRef, s.Name)
	}
	for i := range p.Spec.InitContainers {
		c.env(p.Spec.InitContainers[i].Env, p.Spec.InitContainers[i].EnvFrom)
	}
	for i := range p.Spec.Containers {
		c.env(p.Spec.Containers[i].Env, p.Spec.Containers[i].EnvFrom)
	}
	for i := range p.Spec.EphemeralContainers {
		c.env(p.Spec.EphemeralContainers[i].Env, p.Spec.EphemeralContainers[i].EnvFrom)
	}
	for i := range p.Spec.Volumes {
		c.volume(p.Name, &p.Spec.Volumes[i])
	}
	for i := range p.Spec.ResourceClaims {
		if name := p.Spec.ResourceClaims[i].ResourceClaimName; name != nil {
			c.add(resourceClaimRef, *name)
		}
	}
	for _, s := range p.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			c.add(resourceClaimRef, *s.ResourceClaimName)
		}
	}
	if s := p.Status.ExtendedResourceClaimStatus; s != nil {
		c.add(resourceClaimRef, s.ResourceClaimName)
	}
	return c.out
}

type collector struct {
	namespace string
	seen      map[ref]struct{}
	out       []ref
}

func (c *collector) add(kind refKind, name string) {
	x := ref{kind, c.namespace, name}
	if _, known := c.seen[x]; known || name == "" {
		return
	}
	c.seen[x] = struct{}{}
	c.out = append(c.out, x)
}

func (c *collector) local(r *corev1.LocalObjectReference) {
	if r != nil {
		c.add(secretRef, r.Name)
	}
}

func (c *collector) env(vars []corev1.EnvVar, from []corev1.EnvFromSource) {
	for i := range vars {
		v := vars[i].ValueFrom
		if v == nil {
			continue
		}
		if v.SecretKeyRef != nil {
			c.add(secretRef, v.SecretKeyRef.Name)
		}
		if v.ConfigMapKeyRef != nil {
			c.add(configMapRef, v.ConfigMapKeyRef.Name)
		}
	}
	for i := range from {
		if from[i].SecretRef != nil {
			c.add(secretRef, from[i].SecretRef.Name)
		}
		if from[i].ConfigMapRef != nil {
			c.add(configMapRef, from[i].ConfigMapRef.Name)
		}
	}
}

func (c *collector) volume(pod string, v *corev1.Volume) {
	switch {
	case v.Secret != nil:
		c.add(secretRef, v.Secret.SecretName)
	case v.ConfigMap != nil:
		c.add(configMapRef, v.ConfigMap.Name)
	case v.PersistentVolumeClaim != nil:
		c.add(claimRef, v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		c.add(claimRef, pod+"-"+v.Name)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			if s.Secret != nil {
				c.add(secretRef, s.Secret.Name)
			}
			if s.ConfigMap != nil {
				c.add(configMapRef, s.ConfigMap.Name)
			}
		}
	case v.CSI != nil:
		c.local(v.CSI.NodePublishSecretRef)
	case v.ISCSI != nil:
		c.local(v.ISCSI.SecretRef)
	case v.RBD != nil:
		c.local(v.RBD.SecretRef)
	case v.CephFS != nil:
		c.local(v.CephFS.SecretRef)
	case v.Cinder != nil:
		c.local(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		c.local(v.FlexVolume.SecretRef)
	case v.ScaleIO != nil:
		c.local(v.ScaleIO.SecretRef)
	case v.StorageOS != nil:
		c.local(v.StorageOS.SecretRef)
	case v.AzureFile != nil:
		c.add(secretRef, v.AzureFile.SecretName)
	}
}

// volumeSecrets lists the secrets that a node needs to mount a persistent volume. A reference without a namespace means the claim's.
func volumeSecrets(v *corev1.PersistentVolume) []ref {
	var out []ref
	add := func(s *corev1.SecretReference) {
		if s == nil || s.Name == "" {
			return
		}
		ns := s.Namespace
		if ns == "" {
			ns = v.Spec.ClaimRef.Namespace
		}
		out = append(out, ref{secretRef, ns, s.Name})
	}
	src := &v.Spec.PersistentVolumeSource
	switch {
	case src.CSI != nil:
		add(src.CSI.NodePublishSecretRef)
		add(src.CSI.NodeStageSecretRef)
		add(src.CSI.NodeExpandSecretRef)
	case src.ISCSI != nil:
		add(src.ISCSI.SecretRef)
	case src.RBD != nil:
		add(src.RBD.SecretRef)
	case src.CephFS != nil:
		add(src.CephFS.SecretRef)
	case src.Cinder != nil:
		add(src.Cinder.SecretRef)
	case src.FlexVolume != nil:
		add(src.FlexVolume.SecretRef)
	case src.ScaleIO != nil:
		add(src.ScaleIO.SecretRef)
	case src.StorageOS != nil && src.StorageOS.SecretRef != nil:
		add(&corev1.SecretReference{Namespace: src.StorageOS.SecretRef.Namespace, Name: src.StorageOS.SecretRef.Name})
	case src.AzureFile != nil:
		ns := ""
		if src.AzureFile.SecretNamespace != nil {
			ns = *src.AzureFile.SecretNamespace
		}
		add(&corev1.SecretReference{Namespace: ns, Name: src.AzureFile.SecretName})
	}
	return out
}
