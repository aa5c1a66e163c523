package storage

import (
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
)

const (
	defaultAnnotation     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
)

func classColumns() []api.Column {
	doc := storagev1.StorageClass{}.SwaggerDoc()
	name := column.Text("Name", column.Name().Description, func(c *storagev1.StorageClass) string {
		if c.Annotations[defaultAnnotation] == "true" || c.Annotations[betaDefaultAnnotation] == "true" {
			return c.Name + " (default)"
		}
		return c.Name
	})
	name.Format = "name"
	return []api.Column{
		name,
		column.Text("Provisioner", doc["provisioner"], func(c *storagev1.StorageClass) string { return c.Provisioner }),
		column.Text("ReclaimPolicy", doc["reclaimPolicy"], func(c *storagev1.StorageClass) string { return string(ptr.Deref(c.ReclaimPolicy, "Delete")) }),
		column.Text("VolumeBindingMode", doc["volumeBindingMode"], func(c *storagev1.StorageClass) string {
			return string(ptr.Deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate))
		}),
		column.Bool("AllowVolumeExpansion", doc["allowVolumeExpansion"], func(c *storagev1.StorageClass) bool { return ptr.Deref(c.AllowVolumeExpansion, false) }),
		column.Age(),
	}
}

func attachmentColumns() []api.Column {
	doc := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("Attacher", doc["attacher"], func(a *storagev1.VolumeAttachment) string { return a.Spec.Attacher }),
		column.Text("PV", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"], func(a *storagev1.VolumeAttachment) string {
			return ptr.Deref(a.Spec.Source.PersistentVolumeName, "")
		}),
		column.Text("Node", doc["nodeName"], func(a *storagev1.VolumeAttachment) string { return a.Spec.NodeName }),
		column.Bool("Attached", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"], func(a *storagev1.VolumeAttachment) bool { return a.Status.Attached }),
		column.Age(),
	}
}

func csiNodeColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Number("Drivers", "Drivers indicates the number of CSI drivers registered on the node", func(n *storagev1.CSINode) int { return len(n.Spec.Drivers) }),
		column.Age(),
	}
}

func driverColumns() []api.Column {
	doc := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Bool("AttachRequired", doc["attachRequired"], func(d *storagev1.CSIDriver) bool { return ptr.Deref(d.Spec.AttachRequired, true) }),
		column.Bool("PodInfoOnMount", doc["podInfoOnMount"], func(d *storagev1.CSIDriver) bool { return ptr.Deref(d.Spec.PodInfoOnMount, false) }),
		column.Bool("StorageCapacity", doc["storageCapacity"], func(d *storagev1.CSIDriver) bool { return ptr.Deref(d.Spec.StorageCapacity, false) }),
		column.Text("TokenRequests", doc["tokenRequests"], func(d *storagev1.CSIDriver) string {
			var audiences []string
			for _, r := range d.Spec.TokenRequests {
				audiences = append(audiences, r.Audience)
			}
			if len(audiences) == 0 {
				return column.Unset
			}
			return strings.Join(audiences, ",")
		}),
		column.Bool("RequiresRepublish", doc["requiresRepublish"], func(d *storagev1.CSIDriver) bool { return ptr.Deref(d.Spec.RequiresRepublish, false) }),
		column.Text("Modes", doc["volumeLifecycleModes"], func(d *storagev1.CSIDriver) string { return column.Join(d.Spec.VolumeLifecycleModes) }),
		column.Age(),
	}
}

func capacityColumns() []api.Column {
	doc := storagev1.CSIStorageCapacity{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("StorageClassName", doc["storageClassName"], func(c *storagev1.CSIStorageCapacity) string { return c.StorageClassName }),
		column.Text("Capacity", doc["capacity"], func(c *storagev1.CSIStorageCapacity) string {
			if c.Capacity == nil {
				return column.Unset
			}
			return c.Capacity.String()
		}),
		column.Age(),
	}
}

func attributesClassColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("DriverName", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"], func(c *storagev1.VolumeAttributesClass) string { return c.DriverName }),
		column.Age(),
	}
}
