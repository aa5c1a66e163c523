package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/meta"
)

// defaultNamespace labels a namespace with its own name, so that selectors can find it.
func defaultNamespace(n *corev1.Namespace) {
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

// prepareNamespace: a new namespace is active and held by the finalizer that empties it.
func prepareNamespace(n *corev1.Namespace) {
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
	defaultNamespace(n) // a generated name is known by now
}

// prepareNamespaceUpdate: finalizers change through finalize only, status through status.
func prepareNamespaceUpdate(n, o *corev1.Namespace) {
	n.Spec.Finalizers = o.Spec.Finalizers
	n.Status = o.Status
}

func validateNamespace(n *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for _, f := range n.Spec.Finalizers {
		at := field.NewPath("spec", "finalizers")
		errs = append(errs, meta.Invalid(at, string(f), validation.IsQualifiedName(string(f)))...)
		errs = append(errs, meta.Finalizer(at, string(f))...)
	}
	return errs
}

// validateNamespaceStatus: a namespace terminates exactly while it is deleted.
func validateNamespaceStatus(n, _ *corev1.Namespace) field.ErrorList {
	p := field.NewPath("status", "phase")
	switch {
	case n.DeletionTimestamp == nil && n.Status.Phase != corev1.NamespaceActive:
		return field.ErrorList{field.Invalid(p, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	case n.DeletionTimestamp != nil && n.Status.Phase != corev1.NamespaceTerminating:
		return field.ErrorList{field.Invalid(p, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}

func namespaceColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Status", "The status of the namespace", func(n *corev1.Namespace) string { return string(n.Status.Phase) }),
		column.Age(),
	}
}

func namespaceFields(n *corev1.Namespace) fields.Set {
	return fields.Set{"status.phase": string(n.Status.Phase), "name": n.Name}
}
