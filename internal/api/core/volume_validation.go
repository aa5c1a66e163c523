package core

import (
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

// validateVolumes also returns the volumes by name, for what refers to them.
func validateVolumes(p *field.Path, volumes []corev1.Volume) (map[string]corev1.VolumeSource, field.ErrorList) {
	var errs field.ErrorList
	byName := map[string]corev1.VolumeSource{}
	for i, v := range volumes {
		at := p.Index(i)
		own := validateVolumeSource(at, v.Name, &v.VolumeSource)
		name := at.Child("name")
		if v.Name == "" {
			own = append(own, field.Required(name, ""))
		} else {
			own = append(own, meta.DNSLabel(name, v.Name)...)
		}
		if _, dup := byName[v.Name]; dup {
			own = append(own, field.Duplicate(name, v.Name))
		}
		if len(own) == 0 {
			byName[v.Name] = v.VolumeSource
		} else {
			errs = append(errs, own...)
			if _, dup := byName[v.Name]; !dup && v.Name != "" {
				byName[v.Name] = v.VolumeSource // one mistake, one error: mounts of it are found
			}
		}
	}
	return byName, errs
}

// oneSource counts the members of a union and lets only the first be checked.
type oneSource struct {
	p    *field.Path
	n    int
	errs field.ErrorList
}

func (o *oneSource) take(name string, set bool, check func(at *field.Path) field.ErrorList) {
	if !set {
		return
	}
	o.n++
	if o.n > 1 {
		o.errs = append(o.errs, field.Forbidden(o.p.Child(name), "may not specify more than 1 volume type"))
		return
	}
	if check != nil {
		o.errs = append(o.errs, check(o.p.Child(name))...)
	}
}

func validateVolumeSource(p *field.Path, name string, s *corev1.VolumeSource) field.ErrorList {
	o := oneSource{p: p}
	o.take("emptyDir", s.EmptyDir != nil, func(at *field.Path) field.ErrorList {
		if s.EmptyDir.SizeLimit != nil && s.EmptyDir.SizeLimit.Sign() < 0 {
			return field.ErrorList{field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
		}
		return nil
	})
	o.take("hostPath", s.HostPath != nil, func(at *field.Path) field.ErrorList { return validateHostPath(at, s.HostPath) })
	o.take("gitRepo", s.GitRepo != nil, func(at *field.Path) field.ErrorList {
		errs := meta.Required(at.Child("repository"), s.GitRepo.Repository)
		return append(errs, descendingPath(at.Child("directory"), s.GitRepo.Directory)...)
	})
	o.take("gcePersistentDisk", s.GCEPersistentDisk != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("pdName"), s.GCEPersistentDisk.PDName), partition(at, s.GCEPersistentDisk.Partition)...)
	})
	o.take("awsElasticBlockStore", s.AWSElasticBlockStore != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("volumeID"), s.AWSElasticBlockStore.VolumeID), partition(at, s.AWSElasticBlockStore.Partition)...)
	})
	o.take("secret", s.Secret != nil, func(at *field.Path) field.ErrorList {
		errs := meta.Required(at.Child("secretName"), s.Secret.SecretName)
		return append(errs, validateFiles(at, s.Secret.DefaultMode, s.Secret.Items)...)
	})
	o.take("nfs", s.NFS != nil, func(at *field.Path) field.ErrorList { return validateNFS(at, s.NFS) })
	o.take("iscsi", s.ISCSI != nil, func(at *field.Path) field.ErrorList {
		errs := meta.Required(at.Child("targetPortal"), s.ISCSI.TargetPortal)
		errs = append(errs, meta.Required(at.Child("iqn"), s.ISCSI.IQN)...)
		return append(errs, meta.InRange(at.Child("lun"), s.ISCSI.Lun, 0, 255)...)
	})
	o.take("glusterfs", s.Glusterfs != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("endpoints"), s.Glusterfs.EndpointsName), meta.Required(at.Child("path"), s.Glusterfs.Path)...)
	})
	o.take("flocker", s.Flocker != nil, func(at *field.Path) field.ErrorList {
		if s.Flocker.DatasetName == "" && s.Flocker.DatasetUUID == "" {
			return field.ErrorList{field.Required(at, "one of datasetName and datasetUUID is required")}
		}
		return nil
	})
	o.take("persistentVolumeClaim", s.PersistentVolumeClaim != nil, func(at *field.Path) field.ErrorList {
		return meta.Required(at.Child("claimName"), s.PersistentVolumeClaim.ClaimName)
	})
	o.take("rbd", s.RBD != nil, func(at *field.Path) field.ErrorList {
		var errs field.ErrorList
		if len(s.RBD.CephMonitors) == 0 {
			errs = append(errs, field.Required(at.Child("monitors"), ""))
		}
		return append(errs, meta.Required(at.Child("image"), s.RBD.RBDImage)...)
	})
	o.take("cinder", s.Cinder != nil, func(at *field.Path) field.ErrorList { return meta.Required(at.Child("volumeID"), s.Cinder.VolumeID) })
	o.take("cephfs", s.CephFS != nil, func(at *field.Path) field.ErrorList {
		if len(s.CephFS.Monitors) == 0 {
			return field.ErrorList{field.Required(at.Child("monitors"), "")}
		}
		return nil
	})
	o.take("quobyte", s.Quobyte != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("registry"), s.Quobyte.Registry), meta.Required(at.Child("volume"), s.Quobyte.Volume)...)
	})
	o.take("downwardAPI", s.DownwardAPI != nil, func(at *field.Path) field.ErrorList {
		errs := fileMode(at.Child("defaultMode"), s.DownwardAPI.DefaultMode)
		return append(errs, validateDownward(at, s.DownwardAPI.Items)...)
	})
	o.take("fc", s.FC != nil, func(at *field.Path) field.ErrorList {
		if len(s.FC.TargetWWNs) == 0 && len(s.FC.WWIDs) == 0 {
			return field.ErrorList{field.Required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both")}
		}
		return nil
	})
	o.take("flexVolume", s.FlexVolume != nil, func(at *field.Path) field.ErrorList { return meta.Required(at.Child("driver"), s.FlexVolume.Driver) })
	o.take("configMap", s.ConfigMap != nil, func(at *field.Path) field.ErrorList {
		errs := meta.Required(at.Child("name"), s.ConfigMap.Name)
		return append(errs, validateFiles(at, s.ConfigMap.DefaultMode, s.ConfigMap.Items)...)
	})
	o.take("azureFile", s.AzureFile != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("secretName"), s.AzureFile.SecretName), meta.Required(at.Child("shareName"), s.AzureFile.ShareName)...)
	})
	o.take("vsphereVolume", s.VsphereVolume != nil, func(at *field.Path) field.ErrorList {
		return meta.Required(at.Child("volumePath"), s.VsphereVolume.VolumePath)
	})
	o.take("photonPersistentDisk", s.PhotonPersistentDisk != nil, func(at *field.Path) field.ErrorList {
		return meta.Required(at.Child("pdID"), s.PhotonPersistentDisk.PdID)
	})
	o.take("portworxVolume", s.PortworxVolume != nil, func(at *field.Path) field.ErrorList {
		return meta.Required(at.Child("volumeID"), s.PortworxVolume.VolumeID)
	})
	o.take("azureDisk", s.AzureDisk != nil, func(at *field.Path) field.ErrorList {
		return append(meta.Required(at.Child("diskName"), s.AzureDisk.DiskName), meta.Required(at.Child("diskURI"), s.AzureDisk.DataDiskURI)...)
	})
	o.take("storageos", s.StorageOS != nil, func(at *field.Path) field.ErrorList {
		return meta.DNSLabel(at.Child("volumeName"), s.StorageOS.VolumeName)
	})
	o.take("projected", s.Projected != nil, func(at *field.Path) field.ErrorList {
		errs := fileMode(at.Child("defaultMode"), s.Projected.DefaultMode)
		return append(errs, validateProjections(at, s.Projected.Sources)...)
	})
	o.take("scaleIO", s.ScaleIO != nil, func(at *field.Path) field.ErrorList {
		errs := meta.Required(at.Child("gateway"), s.ScaleIO.Gateway)
		errs = append(errs, meta.Required(at.Child("system"), s.ScaleIO.System)...)
		return append(errs, meta.Required(at.Child("volumeName"), s.ScaleIO.VolumeName)...)
	})
	o.take("csi", s.CSI != nil, func(at *field.Path) field.ErrorList {
		errs := validateDriverName(at.Child("driver"), s.CSI.Driver)
		if ref := s.CSI.NodePublishSecretRef; ref != nil {
			errs = append(errs, meta.Required(at.Child("nodePublishSecretRef", "name"), ref.Name)...)
		}
		return errs
	})
	o.take("ephemeral", s.Ephemeral != nil, func(at *field.Path) field.ErrorList {
		t := s.Ephemeral.VolumeClaimTemplate
		if t == nil {
			return field.ErrorList{field.Required(at.Child("volumeClaimTemplate"), "")}
		}
		errs := meta.Labels(at.Child("volumeClaimTemplate", "metadata", "labels"), t.Labels)
		errs = append(errs, validateAnnotations(at.Child("volumeClaimTemplate", "metadata", "annotations"), t.Annotations)...)
		return append(errs, ValidateClaimSpec(at.Child("volumeClaimTemplate", "spec"), &t.Spec)...)
	})
	o.take("image", s.Image != nil, func(at *field.Path) field.ErrorList {
		errs := meta.Required(at.Child("reference"), s.Image.Reference)
		return append(errs, meta.OneOfOrEmpty(at.Child("pullPolicy"), s.Image.PullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	})
	if o.n == 0 {
		o.errs = append(o.errs, field.Required(p, "must specify a volume type"))
	}
	return o.errs
}

func partition(p *field.Path, n int32) field.ErrorList {
	return meta.InRange(p.Child("partition"), n, 0, 255)
}

func validateHostPath(p *field.Path, h *corev1.HostPathVolumeSource) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(p.Child("path"), "")}
	}
	errs := noBacksteps(p.Child("path"), h.Path)
	if h.Type != nil {
		errs = append(errs, meta.OneOfOrEmpty(p.Child("type"), *h.Type, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
			corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)...)
	}
	return errs
}

func validateNFS(p *field.Path, n *corev1.NFSVolumeSource) field.ErrorList {
	errs := meta.Required(p.Child("server"), n.Server)
	errs = append(errs, meta.Required(p.Child("path"), n.Path)...)
	if !path.IsAbs(n.Path) {
		errs = append(errs, field.Invalid(p.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}

func validateDriverName(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	if len(name) > 63 {
		errs = append(errs, field.TooLong(p, "", 63))
	}
	return append(errs, meta.DNSSubdomain(p, strings.ToLower(name))...)
}

func fileMode(p *field.Path, mode *int32) field.ErrorList {
	if mode != nil && (*mode > 0o777 || *mode < 0) {
		return field.ErrorList{field.Invalid(p, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func validateFiles(p *field.Path, mode *int32, items []corev1.KeyToPath) field.ErrorList {
	errs := fileMode(p.Child("defaultMode"), mode)
	for i, item := range items {
		at := p.Child("items").Index(i)
		errs = append(errs, meta.Required(at.Child("key"), item.Key)...)
		errs = append(errs, filePath(at.Child("path"), item.Path)...)
		errs = append(errs, fileMode(at.Child("mode"), item.Mode)...)
	}
	return errs
}

// filePath: required, relative, not climbing, not starting with the two dots of atomic writers.
func filePath(p *field.Path, value string) field.ErrorList {
	errs := meta.Required(p, value)
	errs = append(errs, descendingPath(p, value)...)
	if strings.HasPrefix(value, "..") && !strings.HasPrefix(value, "../") && value != ".." {
		errs = append(errs, field.Invalid(p, value, "must not start with '..'"))
	}
	return errs
}

func validateDownward(p *field.Path, items []corev1.DownwardAPIVolumeFile) field.ErrorList {
	var errs field.ErrorList
	for i, f := range items {
		at := p.Child("items").Index(i)
		errs = append(errs, filePath(at.Child("path"), f.Path)...)
		switch {
		case f.FieldRef != nil:
			errs = append(errs, validateFieldRef(at.Child("fieldRef"), f.FieldRef, downwardFields)...)
			if f.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case f.ResourceFieldRef != nil:
			errs = append(errs, validateResourceFieldRef(at.Child("resourceFieldRef"), f.ResourceFieldRef, true)...)
		default:
			errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, fileMode(at.Child("mode"), f.Mode)...)
	}
	return errs
}

func validateProjections(p *field.Path, sources []corev1.VolumeProjection) field.ErrorList {
	var errs field.ErrorList
	paths := sets.New[string]()
	conflict := func(at *field.Path, value string) {
		if value == "" {
			return
		}
		if paths.Has(value) {
			errs = append(errs, field.Invalid(at, value, "conflicting duplicate paths"))
		}
		paths.Insert(value)
	}
	for i, s := range sources {
		at := p.Child("sources").Index(i)
		n := 0
		more := func() bool {
			n++
			if n > 1 {
				errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type per source"))
			}
			return n == 1
		}
		if s.Secret != nil && more() {
			errs = append(errs, meta.Required(at.Child("secret", "name"), s.Secret.Name)...)
			errs = append(errs, validateFiles(at.Child("secret"), nil, s.Secret.Items)...)
			for j, f := range s.Secret.Items {
				conflict(at.Child("secret", "items").Index(j).Child("path"), f.Path)
			}
		}
		if s.ConfigMap != nil && more() {
			errs = append(errs, meta.Required(at.Child("configMap", "name"), s.ConfigMap.Name)...)
			errs = append(errs, validateFiles(at.Child("configMap"), nil, s.ConfigMap.Items)...)
			for j, f := range s.ConfigMap.Items {
				conflict(at.Child("configMap", "items").Index(j).Child("path"), f.Path)
			}
		}
		if s.DownwardAPI != nil && more() {
			errs = append(errs, validateDownward(at.Child("downwardAPI"), s.DownwardAPI.Items)...)
			for j, f := range s.DownwardAPI.Items {
				conflict(at.Child("downwardAPI", "items").Index(j).Child("path"), f.Path)
			}
		}
		if t := s.ServiceAccountToken; t != nil && more() {
			token := at.Child("serviceAccountToken")
			if e := t.ExpirationSeconds; e != nil && *e < 600 {
				errs = append(errs, field.Invalid(token.Child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes"))
			}
			if e := t.ExpirationSeconds; e != nil && *e > 1<<32 {
				errs = append(errs, field.Invalid(token.Child("expirationSeconds"), *e, "may not specify a duration larger than 2^32 seconds"))
			}
			if t.Path == "" {
				errs = append(errs, field.Required(token.Child("path"), ""))
			} else {
				errs = append(errs, filePath(token.Child("path"), t.Path)...)
			}
			conflict(token, t.Path)
		}
		if b := s.ClusterTrustBundle; b != nil && more() {
			bundle := at.Child("clusterTrustBundle")
			switch {
			case b.Name != nil && b.SignerName != nil, b.Name != nil && b.LabelSelector != nil:
				errs = append(errs, field.Invalid(bundle, b, "only one of name and signerName may be used"))
			case b.Name == nil && b.SignerName == nil:
				errs = append(errs, field.Required(bundle, "either name or signerName must be specified"))
			}
			errs = append(errs, metav1validation.ValidateLabelSelector(b.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, bundle.Child("labelSelector"))...)
			errs = append(errs, filePath(bundle.Child("path"), b.Path)...)
			conflict(bundle, b.Path)
		}
		if c := s.PodCertificate; c != nil && more() {
			cert := at.Child("podCertificate")
			errs = append(errs, meta.Required(cert.Child("signerName"), c.SignerName)...)
			if kinds := []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}; !slices.Contains(kinds, c.KeyType) {
				errs = append(errs, field.NotSupported(cert.Child("keyType"), c.KeyType, kinds))
			}
			if e := c.MaxExpirationSeconds; e != nil && *e < 3600 {
				errs = append(errs, field.Invalid(cert.Child("maxExpirationSeconds"), *e, "if provided, maxExpirationSeconds must be >= 3600"))
			}
			for _, f := range []struct{ name, value string }{{"credentialBundlePath", c.CredentialBundlePath}, {"keyPath", c.KeyPath}, {"certificateChainPath", c.CertificateChainPath}} {
				if f.value != "" {
					errs = append(errs, filePath(cert.Child(f.name), f.value)...)
					conflict(cert.Child(f.name), f.value)
				}
			}
		}
	}
	return errs
}

// validateAnnotations checks annotations that stand in a template, not in an object's own metadata.
func validateAnnotations(p *field.Path, annotations map[string]string) field.ErrorList {
	return apivalidation.ValidateAnnotations(annotations, p)
}
