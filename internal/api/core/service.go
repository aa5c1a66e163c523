package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// service declares the resource services.
func service() *api.Resource {
	return &api.Resource{
		Kind: "Service", Plural: "services", Singular: "service",
		ShortNames: []string{"svc"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Service](), NewList: api.New[corev1.ServiceList](), Default: api.Each(DefaultService)}},
		Storage:    "v1",
		Prefix:     "services/specs",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNS1035Label,
			PrepareCreate:       api.Each(prepareService),
			PrepareUpdate:       api.Change(prepareServiceUpdate),
			Validate:            api.Check(validateService),
			ValidateUpdate:      api.CheckChange(validateServiceUpdate),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Service", Verbs: api.StatusVerbs, New: api.New[corev1.Service](),
				PrepareUpdate:  api.Change(func(n, o *corev1.Service) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateServiceStatus),
				ResetFields:    [][]string{{"spec"}}},
			{Name: "proxy", Kind: "ServiceProxyOptions", Verbs: api.ProxyVerbs, Connect: true, New: api.New[corev1.ServiceProxyOptions]()},
		},
		Columns: serviceColumns(),
		Fields:  func(o runtime.Object) fields.Set { return serviceFields(o.(*corev1.Service)) },
	}
}
