package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// validatingAdmissionPolicy declares the resource validatingadmissionpolicies.
func validatingAdmissionPolicy() *api.Resource {
	return &api.Resource{
		Group: "admissionregistration.k8s.io",
		Kind:  "ValidatingAdmissionPolicy", Plural: "validatingadmissionpolicies", Singular: "validatingadmissionpolicy",
		Categories: []string{"api-extensions"},
		Versions:   []api.Version{{Name: "v1", New: api.New[admissionregistrationv1.ValidatingAdmissionPolicy](), NewList: api.New[admissionregistrationv1.ValidatingAdmissionPolicyList](), Default: api.Each(DefaultPolicy)}},
		Storage:    "v1",
		Prefix:     "validatingadmissionpolicies",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:     apivalidation.NameIsDNSSubdomain,
			Validate: api.Check(validatePolicy),
			PrepareCreate: api.Each(func(n *admissionregistrationv1.ValidatingAdmissionPolicy) {
				n.Status = admissionregistrationv1.ValidatingAdmissionPolicyStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *admissionregistrationv1.ValidatingAdmissionPolicy) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields: [][]string{{"status"}},
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "ValidatingAdmissionPolicy", Verbs: api.StatusVerbs, New: api.New[admissionregistrationv1.ValidatingAdmissionPolicy](),
				PrepareUpdate: api.Change(func(n, o *admissionregistrationv1.ValidatingAdmissionPolicy) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
		Columns: policyColumns(),
	}
}
