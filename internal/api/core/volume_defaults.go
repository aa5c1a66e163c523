package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// defaultMode of files from secrets, config maps, the downward API and projections.
const defaultMode int32 = 0o644

// tokenSeconds is the default life of a projected service account token.
const tokenSeconds int64 = 3600

func defaultVolume(v *corev1.Volume) {
	s := &v.VolumeSource
	if *s == (corev1.VolumeSource{}) {
		s.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if s.Secret != nil {
		orInt32(&s.Secret.DefaultMode, defaultMode)
	}
	if s.ConfigMap != nil {
		orInt32(&s.ConfigMap.DefaultMode, defaultMode)
	}
	if s.DownwardAPI != nil {
		orInt32(&s.DownwardAPI.DefaultMode, defaultMode)
		defaultDownward(s.DownwardAPI.Items)
	}
	if s.Projected != nil {
		orInt32(&s.Projected.DefaultMode, defaultMode)
		for i := range s.Projected.Sources {
			p := &s.Projected.Sources[i]
			if p.DownwardAPI != nil {
				defaultDownward(p.DownwardAPI.Items)
			}
			if p.ServiceAccountToken != nil && p.ServiceAccountToken.ExpirationSeconds == nil {
				p.ServiceAccountToken.ExpirationSeconds = ptr.To(tokenSeconds)
			}
		}
	}
	if s.HostPath != nil {
		if s.HostPath.Type == nil {
			s.HostPath.Type = ptr.To(corev1.HostPathUnset)
		}
	}
	if s.ISCSI != nil {
		orString(&s.ISCSI.ISCSIInterface, "default")
	}
	if s.RBD != nil {
		orString(&s.RBD.RBDPool, "rbd")
		orString(&s.RBD.RadosUser, "admin")
		orString(&s.RBD.Keyring, "/etc/ceph/keyring")
	}
	if s.AzureDisk != nil {
		defaultAzureDisk(s.AzureDisk)
	}
	if s.ScaleIO != nil {
		orString(&s.ScaleIO.StorageMode, "ThinProvisioned")
		orString(&s.ScaleIO.FSType, "xfs")
	}
	if s.Ephemeral != nil {
		if t := s.Ephemeral.VolumeClaimTemplate; t != nil {
			DefaultClaimSpec(&t.Spec)
		}
	}
	if s.Image != nil {
		if s.Image.PullPolicy == "" {
			s.Image.PullPolicy = pullPolicy(s.Image.Reference)
		}
	}
}

func defaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	if d.CachingMode == nil {
		d.CachingMode = ptr.To(corev1.AzureDataDiskCachingReadWrite)
	}
	if d.Kind == nil {
		d.Kind = ptr.To(corev1.AzureSharedBlobDisk)
	}
	if d.FSType == nil {
		d.FSType = ptr.To("ext4")
	}
	if d.ReadOnly == nil {
		d.ReadOnly = ptr.To(false)
	}
}

func defaultDownward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if f := items[i].FieldRef; f != nil && f.APIVersion == "" {
			f.APIVersion = "v1"
		}
	}
}

func orInt32(p **int32, value int32) {
	if *p == nil {
		*p = &value
	}
}

func orString[T ~string](p *T, value T) {
	if *p == "" {
		*p = value
	}
}
