package core

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validateVolumeObject(v *corev1.PersistentVolume) field.ErrorList {
	p := field.NewPath("spec")
	var errs field.ErrorList
	s := &v.Spec
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(p.Child("accessModes"), ""))
	}
	errs = append(errs, validateAccessModes(p.Child("accessModes"), s.AccessModes)...)
	if len(s.Capacity) == 0 {
		errs = append(errs, field.Required(p.Child("capacity"), ""))
	} else {
		storage, ok := s.Capacity[corev1.ResourceStorage]
		if !ok || len(s.Capacity) > 1 {
			errs = append(errs, field.NotSupported(p.Child("capacity"), s.Capacity.Storage().String(), []string{string(corev1.ResourceStorage)}))
		}
		at := p.Child("capacity").Key(string(corev1.ResourceStorage))
		errs = append(errs, ValidateQuantity(at, corev1.ResourceStorage, storage)...)
		if ok && storage.Sign() <= 0 {
			errs = append(errs, field.Invalid(at, storage.String(), "must be greater than zero"))
		}
	}
	if s.PersistentVolumeReclaimPolicy != "" {
		errs = append(errs, meta.OneOf(p.Child("persistentVolumeReclaimPolicy"), s.PersistentVolumeReclaimPolicy,
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	}
	if s.NodeAffinity != nil {
		at := p.Child("nodeAffinity", "required")
		if s.NodeAffinity.Required == nil {
			errs = append(errs, field.Required(at, "must specify required node constraints"))
		} else {
			errs = append(errs, ValidateNodeSelector(at, s.NodeAffinity.Required)...)
		}
	}
	errs = append(errs, validateVolumeObjectSource(p, s)...)
	if s.StorageClassName != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("storageClassName"), s.StorageClassName)...)
	}
	if s.VolumeMode != nil {
		errs = append(errs, meta.OneOf(p.Child("volumeMode"), *s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	if c := s.VolumeAttributesClassName; c != nil {
		if s.CSI == nil {
			errs = append(errs, field.Required(p.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
		errs = append(errs, meta.RequiredName(p.Child("volumeAttributesClassName"), *c)...)
	}
	return errs
}

func validateVolumeObjectSource(p *field.Path, s *corev1.PersistentVolumeSpec) field.ErrorList {
	o := oneSource{p: p}
	o.take("hostPath", s.HostPath != nil, func(at *field.Path) field.ErrorList {
		errs := validateHostPath(at, s.HostPath)
		if path.Clean(s.HostPath.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
			errs = append(errs, field.Forbidden(p.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
		}
		return errs
	})
	o.take("local", s.Local != nil, func(at *field.Path) field.ErrorList {
		errs := meta.Required(at.Child("path"), s.Local.Path)
		errs = append(errs, noBacksteps(at.Child("path"), s.Local.Path)...)
		if s.NodeAffinity == nil {
			errs = append(errs, field.Required(p.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
		return errs
	})
	o.take("nfs", s.NFS != nil, func(at *field.Path) field.ErrorList { return validateNFS(at, s.NFS) })
	o.take("csi", s.CSI != nil, func(at *field.Path) field.ErrorList {
		errs := validateDriverName(at.Child("driver"), s.CSI.Driver)
		return append(errs, meta.Required(at.Child("volumeHandle"), s.CSI.VolumeHandle)...)
	})
	o.take("gcePersistentDisk", s.GCEPersistentDisk != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("pdName"), s.GCEPersistentDisk.PDName), partition(at, s.GCEPersistentDisk.Partition)...)
	})
	o.take("awsElasticBlockStore", s.AWSElasticBlockStore != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("volumeID"), s.AWSElasticBlockStore.VolumeID), partition(at, s.AWSElasticBlockStore.Partition)...)
	})
	o.take("iscsi", s.ISCSI != nil, func(at *field.Path) field.ErrorList {
		errs := meta.Required(at.Child("targetPortal"), s.ISCSI.TargetPortal)
		errs = append(errs, meta.Required(at.Child("iqn"), s.ISCSI.IQN)...)
		return append(errs, meta.InRange(at.Child("lun"), s.ISCSI.Lun, 0, 255)...)
	})
	o.take("cinder", s.Cinder != nil, func(at *field.Path) field.ErrorList { return meta.Required(at.Child("volumeID"), s.Cinder.VolumeID) })
	o.take("fc", s.FC != nil, nil)
	o.take("flexVolume", s.FlexVolume != nil, func(at *field.Path) field.ErrorList { return meta.Required(at.Child("driver"), s.FlexVolume.Driver) })
	o.take("azureDisk", s.AzureDisk != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("diskName"), s.AzureDisk.DiskName), meta.Required(at.Child("diskURI"), s.AzureDisk.DataDiskURI)...)
	})
	o.take("azureFile", s.AzureFile != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("secretName"), s.AzureFile.SecretName), meta.Required(at.Child("shareName"), s.AzureFile.ShareName)...)
	})
	o.take("glusterfs", s.Glusterfs != nil, nil)
	o.take("rbd", s.RBD != nil, nil)
	o.take("cephfs", s.CephFS != nil, nil)
	o.take("flocker", s.Flocker != nil, nil)
	o.take("quobyte", s.Quobyte != nil, nil)
	o.take("vsphereVolume", s.VsphereVolume != nil, func(at *field.Path) field.ErrorList {
		return meta.Required(at.Child("volumePath"), s.VsphereVolume.VolumePath)
	})
	o.take("photonPersistentDisk", s.PhotonPersistentDisk != nil, nil)
	o.take("portworxVolume", s.PortworxVolume != nil, nil)
	o.take("scaleIO", s.ScaleIO != nil, nil)
	o.take("storageos", s.StorageOS != nil, nil)
	if o.n == 0 {
		o.errs = append(o.errs, field.Required(p, "must specify a volume type"))
	}
	return o.errs
}

func validateVolumeObjectUpdate(new, old *corev1.PersistentVolume) field.ErrorList {
	errs := validateVolumeObject(new)
	p := field.NewPath("spec")
	if !apiequality.Semantic.DeepEqual(new.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
		// A CSI volume may learn its expansion secret later.
		is, was := new.Spec.PersistentVolumeSource.DeepCopy(), old.Spec.PersistentVolumeSource.DeepCopy()
		if is.CSI != nil && was.CSI != nil {
			is.CSI.ControllerExpandSecretRef, is.CSI.NodeExpandSecretRef = was.CSI.ControllerExpandSecretRef, was.CSI.NodeExpandSecretRef
		}
		if !apiequality.Semantic.DeepEqual(is, was) {
			errs = append(errs, field.Forbidden(p.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation"))
		}
	}
	errs = append(errs, meta.Immutable(p.Child("volumeMode"), new.Spec.VolumeMode, old.Spec.VolumeMode)...)
	if old.Spec.NodeAffinity != nil {
		errs = append(errs, meta.Immutable(p.Child("nodeAffinity"), new.Spec.NodeAffinity, old.Spec.NodeAffinity)...)
	}
	return errs
}
