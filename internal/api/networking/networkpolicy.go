package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// networkPolicy declares the resource networkpolicies.
func networkPolicy() *api.Resource {
	return &api.Resource{
		Group: "networking.k8s.io",
		Kind:  "NetworkPolicy", Plural: "networkpolicies", Singular: "networkpolicy",
		ShortNames: []string{"netpol"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[networkingv1.NetworkPolicy](), NewList: api.New[networkingv1.NetworkPolicyList](), Default: api.Each(DefaultNetworkPolicy)}},
		Storage:    "v1",
		Prefix:     "networkpolicies",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateNetworkPolicy),
			PrepareCreate:       api.Each(func(n *networkingv1.NetworkPolicy) { n.Generation = 1 }),
			PrepareUpdate:       api.Change(func(n, o *networkingv1.NetworkPolicy) { meta.BumpGeneration(n, o, n.Spec, o.Spec) }),
			UnconditionalUpdate: true,
		},
		Columns: networkPolicyColumns(),
	}
}
