package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
)

// StorageObjectInUseProtection adds the finalizers that keep claims and volumes while pods use them. The protection controllers
// take them away again.
type StorageObjectInUseProtection struct{ Operations }

// NewStorageObjectInUseProtection makes the plugin.
func NewStorageObjectInUseProtection() *StorageObjectInUseProtection {
	return &StorageObjectInUseProtection{Operations{Create}}
}

// Name implements Plugin.
func (*StorageObjectInUseProtection) Name() string { return "StorageObjectInUseProtection" }

// Admit implements Mutator.
func (*StorageObjectInUseProtection) Admit(_ context.Context, r *Request) error {
	if r.Subresource != "" {
		return nil
	}
	switch o := r.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		protect(&o.ObjectMeta, "kubernetes.io/pvc-protection")
	case *corev1.PersistentVolume:
		protect(&o.ObjectMeta, "kubernetes.io/pv-protection")
	case *storagev1.VolumeAttributesClass:
		protect(&o.ObjectMeta, "kubernetes.io/vac-protection")
	}
	return nil
}

func protect(m *metav1.ObjectMeta, finalizer string) {
	if !slices.Contains(m.Finalizers, finalizer) {
		m.Finalizers = append(m.Finalizers, finalizer)
	}
}

// newestDefault is the youngest object marked as default, of equally old ones the first by name.
func newestDefault[T metav1.Object](all []T, mark string) (best T, found bool) {
	for _, o := range all {
		if o.GetAnnotations()[mark] != "true" {
			continue
		}
		if found {
			a, b := o.GetCreationTimestamp(), best.GetCreationTimestamp()
			if a.Before(&b) || (a.Equal(&b) && o.GetName() > best.GetName()) {
				continue
			}
		}
		best, found = o, true
	}
	return best, found
}

// DefaultStorageClass gives a claim without a class the cluster's default one.
type DefaultStorageClass struct {
	Operations
	classes storagelisters.StorageClassLister
}

// NewDefaultStorageClass makes the plugin.
func NewDefaultStorageClass(f informers.SharedInformerFactory) *DefaultStorageClass {
	return &DefaultStorageClass{Operations{Create}, f.Storage().V1().StorageClasses().Lister()}
}

// Name implements Plugin.
func (*DefaultStorageClass) Name() string { return "DefaultStorageClass" }

// Admit implements Mutator.
func (d *DefaultStorageClass) Admit(_ context.Context, r *Request) error {
	claim, ok := r.Object.(*corev1.PersistentVolumeClaim)
	if !ok || r.Subresource != "" || claim.Spec.StorageClassName != nil {
		return nil
	}
	if _, old := claim.Annotations[corev1.BetaStorageClassAnnotation]; old {
		return nil
	}
	all, err := d.classes.List(labels.Everything())
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("list storage classes: %w", err))
	}
	class, ok := newestDefault(all, "storageclass.kubernetes.io/is-default-class")
	if !ok {
		class, ok = newestDefault(all, "storageclass.beta.kubernetes.io/is-default-class")
	}
	if ok {
		name := class.Name
		claim.Spec.StorageClassName = &name
	}
	return nil
}

// PersistentVolumeClaimResize lets claims grow only where their class says that volumes can.
type PersistentVolumeClaimResize struct {
	Operations
	classes storagelisters.StorageClassLister
}

// NewPersistentVolumeClaimResize makes the plugin.
func NewPersistentVolumeClaimResize(f informers.SharedInformerFactory) *PersistentVolumeClaimResize {
	return &PersistentVolumeClaimResize{Operations{Update}, f.Storage().V1().StorageClasses().Lister()}
}

// Name implements Plugin.
func (*PersistentVolumeClaimResize) Name() string { return "PersistentVolumeClaimResize" }

// Validate implements Validator.
func (p *PersistentVolumeClaimResize) Validate(_ context.Context, r *Request) error {
	claim, ok := r.Object.(*corev1.PersistentVolumeClaim)
	old, _ := r.OldObject.(*corev1.PersistentVolumeClaim)
	if !ok || old == nil || r.Subresource != "" {
		return nil
	}
	was, is := old.Spec.Resources.Requests[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if is.Cmp(was) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return forbidden(r, fmt.Errorf("only bound persistent volume claims can be expanded"))
	}
	name := ""
	if claim.Spec.StorageClassName != nil {
		name = *claim.Spec.StorageClassName
	}
	if class, err := p.classes.Get(name); name == "" || err != nil || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
		return forbidden(r, fmt.Errorf("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
	}
	return nil
}

// DefaultIngressClass gives an ingress without a class the cluster's default one.
type DefaultIngressClass struct {
	Operations
	classes networkinglisters.IngressClassLister
}

// NewDefaultIngressClass makes the plugin.
func NewDefaultIngressClass(f informers.SharedInformerFactory) *DefaultIngressClass {
	return &DefaultIngressClass{Operations{Create}, f.Networking().V1().IngressClasses().Lister()}
}

// Name implements Plugin.
func (*DefaultIngressClass) Name() string { return "DefaultIngressClass" }

// Admit implements Mutator.
func (d *DefaultIngressClass) Admit(_ context.Context, r *Request) error {
	ingress, ok := r.Object.(*networkingv1.Ingress)
	if !ok || r.Subresource != "" || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, old := ingress.Annotations["kubernetes.io/ingress.class"]; old {
		return nil
	}
	all, err := d.classes.List(labels.Everything())
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("list ingress classes: %w", err))
	}
	if class, ok := newestDefault(all, networkingv1.AnnotationIsDefaultIngressClass); ok {
		name := class.Name
		ingress.Spec.IngressClassName = &name
	}
	return nil
}
