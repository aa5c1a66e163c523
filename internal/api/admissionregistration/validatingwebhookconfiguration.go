package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// validatingWebhookConfiguration declares the resource validatingwebhookconfigurations.
func validatingWebhookConfiguration() *api.Resource {
	return &api.Resource{
		Group: "admissionregistration.k8s.io",
		Kind:  "ValidatingWebhookConfiguration", Plural: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration",
		Categories: []string{"api-extensions"},
		Versions:   []api.Version{{Name: "v1", New: api.New[admissionregistrationv1.ValidatingWebhookConfiguration](), NewList: api.New[admissionregistrationv1.ValidatingWebhookConfigurationList](), Default: api.Each(DefaultValidating)}},
		Storage:    "v1",
		Prefix:     "validatingwebhookconfigurations",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:          apivalidation.NameIsDNSSubdomain,
			Validate:      api.Check(validateValidating),
			PrepareCreate: api.Each(func(n *admissionregistrationv1.ValidatingWebhookConfiguration) { n.Generation = 1 }),
			PrepareUpdate: api.Change(func(n, o *admissionregistrationv1.ValidatingWebhookConfiguration) {
				meta.BumpGeneration(n, o, n.Webhooks, o.Webhooks)
			}),
		},
		Columns: validatingColumns(),
	}
}
