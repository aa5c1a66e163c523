package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
)

var modeWords = []struct {
	mode corev1.PersistentVolumeAccessMode
	word string
}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}}

func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var words []string
	for _, w := range modeWords {
		if slices.Contains(modes, w.mode) {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// storageClass honours the annotation that came before the field.
func storageClass(annotations map[string]string, name *string) string {
	if class, ok := annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	return ptr.Deref(name, "")
}

func volumeColumns() []api.Column {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return append([]api.Column{
		column.Name(),
		column.Text("Capacity", spec["capacity"], func(v *corev1.PersistentVolume) string { return v.Spec.Capacity.Storage().String() }),
		column.Text("Access Modes", spec["accessModes"], func(v *corev1.PersistentVolume) string { return accessModes(v.Spec.AccessModes) }),
		column.Text("Reclaim Policy", spec["persistentVolumeReclaimPolicy"], func(v *corev1.PersistentVolume) string { return string(v.Spec.PersistentVolumeReclaimPolicy) }),
		column.Text("Status", status["phase"], func(v *corev1.PersistentVolume) string {
			if v.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(v.Status.Phase)
		}),
		column.Text("Claim", spec["claimRef"], func(v *corev1.PersistentVolume) string {
			if r := v.Spec.ClaimRef; r != nil {
				return r.Namespace + "/" + r.Name
			}
			return ""
		}),
		column.Text("StorageClass", "StorageClass of the pv", func(v *corev1.PersistentVolume) string { return storageClass(v.Annotations, &v.Spec.StorageClassName) }),
		column.Text("VolumeAttributesClass", spec["volumeAttributesClassName"], func(v *corev1.PersistentVolume) string {
			return ptr.Deref(v.Spec.VolumeAttributesClassName, column.Unset)
		}),
		column.Text("Reason", status["reason"], func(v *corev1.PersistentVolume) string { return v.Status.Reason }),
		column.Age(),
	}, column.Wide(
		column.Text("VolumeMode", spec["volumeMode"], func(v *corev1.PersistentVolume) string { return string(ptr.Deref(v.Spec.VolumeMode, column.Unset)) }),
	)...)
}

func claimColumns() []api.Column {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return append([]api.Column{
		column.Name(),
		column.Text("Status", status["phase"], func(c *corev1.PersistentVolumeClaim) string {
			if c.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(c.Status.Phase)
		}),
		column.Text("Volume", spec["volumeName"], func(c *corev1.PersistentVolumeClaim) string { return c.Spec.VolumeName }),
		column.Text("Capacity", status["capacity"], func(c *corev1.PersistentVolumeClaim) string {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return c.Status.Capacity.Storage().String()
		}),
		column.Text("Access Modes", status["accessModes"], func(c *corev1.PersistentVolumeClaim) string {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return accessModes(c.Status.AccessModes)
		}),
		column.Text("StorageClass", "StorageClass of the pvc", func(c *corev1.PersistentVolumeClaim) string {
			return storageClass(c.Annotations, c.Spec.StorageClassName)
		}),
		column.Text("VolumeAttributesClass", spec["volumeAttributesClassName"], func(c *corev1.PersistentVolumeClaim) string {
			return ptr.Deref(c.Spec.VolumeAttributesClassName, column.Unset)
		}),
		column.Age(),
	}, column.Wide(
		column.Text("VolumeMode", spec["volumeMode"], func(c *corev1.PersistentVolumeClaim) string {
			return string(ptr.Deref(c.Spec.VolumeMode, column.Unset))
		}),
	)...)
}

func prepareVolume(v *corev1.PersistentVolume) {
	v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending}
}

func prepareClaim(c *corev1.PersistentVolumeClaim) {
	c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	dataSources(&c.Spec)
}

// dataSources keeps the two ways to name a source telling the same, where they can.
func dataSources(s *corev1.PersistentVolumeClaimSpec) {
	switch {
	case s.DataSource != nil && s.DataSourceRef == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: s.DataSource.APIGroup, Kind: s.DataSource.Kind, Name: s.DataSource.Name}
	case s.DataSource == nil && s.DataSourceRef != nil && s.DataSourceRef.Namespace == nil:
		group := ptr.Deref(s.DataSourceRef.APIGroup, "")
		if group == "" && s.DataSourceRef.Kind == "PersistentVolumeClaim" || group == "snapshot.storage.k8s.io" && s.DataSourceRef.Kind == "VolumeSnapshot" {
			s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: s.DataSourceRef.APIGroup, Kind: s.DataSourceRef.Kind, Name: s.DataSourceRef.Name}
		}
	}
}

func volumeFields(v *corev1.PersistentVolume) fields.Set     { return fields.Set{"name": v.Name} }
func claimFields(c *corev1.PersistentVolumeClaim) fields.Set { return fields.Set{"name": c.Name} }
