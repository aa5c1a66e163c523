package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// validatingAdmissionPolicyBinding declares the resource validatingadmissionpolicybindings.
func validatingAdmissionPolicyBinding() *api.Resource {
	return &api.Resource{
		Group: "admissionregistration.k8s.io",
		Kind:  "ValidatingAdmissionPolicyBinding", Plural: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding",
		Categories: []string{"api-extensions"},
		Versions:   []api.Version{{Name: "v1", New: api.New[admissionregistrationv1.ValidatingAdmissionPolicyBinding](), NewList: api.New[admissionregistrationv1.ValidatingAdmissionPolicyBindingList](), Default: api.Each(DefaultPolicyBinding)}},
		Storage:    "v1",
		Prefix:     "validatingadmissionpolicybindings",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:          apivalidation.NameIsDNSSubdomain,
			Validate:      api.Check(validatePolicyBinding),
			PrepareCreate: api.Each(func(n *admissionregistrationv1.ValidatingAdmissionPolicyBinding) { n.Generation = 1 }),
			PrepareUpdate: api.Change(func(n, o *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
		},
		Columns: policyBindingColumns(),
	}
}
