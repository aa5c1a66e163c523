package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// mutatingWebhookConfiguration declares the resource mutatingwebhookconfigurations.
func mutatingWebhookConfiguration() *api.Resource {
	return &api.Resource{
		Group: "admissionregistration.k8s.io",
		Kind:  "MutatingWebhookConfiguration", Plural: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration",
		Categories: []string{"api-extensions"},
		Versions:   []api.Version{{Name: "v1", New: api.New[admissionregistrationv1.MutatingWebhookConfiguration](), NewList: api.New[admissionregistrationv1.MutatingWebhookConfigurationList](), Default: api.Each(DefaultMutating)}},
		Storage:    "v1",
		Prefix:     "mutatingwebhookconfigurations",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:          apivalidation.NameIsDNSSubdomain,
			Validate:      api.Check(validateMutating),
			PrepareCreate: api.Each(func(n *admissionregistrationv1.MutatingWebhookConfiguration) { n.Generation = 1 }),
			PrepareUpdate: api.Change(func(n, o *admissionregistrationv1.MutatingWebhookConfiguration) {
				meta.BumpGeneration(n, o, n.Webhooks, o.Webhooks)
			}),
		},
		Columns: mutatingColumns(),
	}
}
