package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// DefaultVolume fills a persistent volume's unset fields.
func DefaultVolume(v *corev1.PersistentVolume) {
	orString(&v.Status.Phase, corev1.VolumePending)
	orString(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	if v.Spec.VolumeMode == nil {
		v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	}
	roundUp(v.Spec.Capacity)
	s := &v.Spec.PersistentVolumeSource
	if s.HostPath != nil && s.HostPath.Type == nil {
		s.HostPath.Type = ptr.To(corev1.HostPathUnset)
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
}
