package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// mutatingAdmissionPolicyBinding declares the resource mutatingadmissionpolicybindings.
func mutatingAdmissionPolicyBinding() *api.Resource {
	return &api.Resource{
		Group: "admissionregistration.k8s.io",
		Kind:  "MutatingAdmissionPolicyBinding", Plural: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding",
		Categories: []string{"api-extensions"},
		Versions:   []api.Version{{Name: "v1", New: api.New[admissionregistrationv1.MutatingAdmissionPolicyBinding](), NewList: api.New[admissionregistrationv1.MutatingAdmissionPolicyBindingList](), Default: api.Each(DefaultMutatingPolicyBinding)}},
		Storage:    "v1",
		Prefix:     "mutatingadmissionpolicybindings",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:          apivalidation.NameIsDNSSubdomain,
			Validate:      api.Check(validateMutatingPolicyBinding),
			PrepareCreate: api.Each(func(n *admissionregistrationv1.MutatingAdmissionPolicyBinding) { n.Generation = 1 }),
			PrepareUpdate: api.Change(func(n, o *admissionregistrationv1.MutatingAdmissionPolicyBinding) {
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
		},
		Columns: mutatingPolicyBindingColumns(),
	}
}
