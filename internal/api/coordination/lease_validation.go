package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/meta"
)

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	p, s := field.NewPath("spec"), &l.Spec
	var errs field.ErrorList
	if s.HolderIdentity != nil && *s.HolderIdentity == "" {
		errs = append(errs, field.Invalid(p.Child("holderIdentity"), *s.HolderIdentity, "must not be empty"))
	}
	if s.LeaseDurationSeconds != nil {
		errs = append(errs, meta.Positive(p.Child("leaseDurationSeconds"), *s.LeaseDurationSeconds)...)
	}
	if s.LeaseTransitions != nil {
		errs = append(errs, meta.NonNegative(p.Child("leaseTransitions"), *s.LeaseTransitions)...)
	}
	if s.Strategy != nil {
		errs = append(errs, meta.QualifiedName(p.Child("strategy"), string(*s.Strategy))...)
	}
	if s.PreferredHolder != nil && *s.PreferredHolder != "" && (s.Strategy == nil || *s.Strategy == "") {
		errs = append(errs, field.Forbidden(p.Child("preferredHolder"), "may only be specified when `strategy` is defined"))
	}
	return errs
}

func leaseColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"], func(l *coordinationv1.Lease) string { return ptr.Deref(l.Spec.HolderIdentity, "") }),
		column.Age(),
	}
}
