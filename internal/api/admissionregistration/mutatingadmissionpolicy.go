package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// mutatingAdmissionPolicy declares the resource mutatingadmissionpolicies.
func mutatingAdmissionPolicy() *api.Resource {
	return &api.Resource{
		Group: "admissionregistration.k8s.io",
		Kind:  "MutatingAdmissionPolicy", Plural: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy",
		Categories: []string{"api-extensions"},
		Versions:   []api.Version{{Name: "v1", New: api.New[admissionregistrationv1.MutatingAdmissionPolicy](), NewList: api.New[admissionregistrationv1.MutatingAdmissionPolicyList](), Default: api.Each(DefaultMutatingPolicy)}},
		Storage:    "v1",
		Prefix:     "mutatingadmissionpolicies",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:          apivalidation.NameIsDNSSubdomain,
			Validate:      api.Check(validateMutatingPolicy),
			PrepareCreate: api.Each(func(n *admissionregistrationv1.MutatingAdmissionPolicy) { n.Generation = 1 }),
			PrepareUpdate: api.Change(func(n, o *admissionregistrationv1.MutatingAdmissionPolicy) { meta.BumpGeneration(n, o, n.Spec, o.Spec) }),
		},
		Columns: mutatingPolicyColumns(),
	}
}
