package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// podDisruptionBudget declares the resource poddisruptionbudgets.
func podDisruptionBudget() *api.Resource {
	return &api.Resource{
		Group: "policy",
		Kind:  "PodDisruptionBudget", Plural: "poddisruptionbudgets", Singular: "poddisruptionbudget",
		ShortNames: []string{"pdb"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[policyv1.PodDisruptionBudget](), NewList: api.New[policyv1.PodDisruptionBudgetList]()}},
		Storage:    "v1",
		Prefix:     "poddisruptionbudgets",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:     apivalidation.NameIsDNSSubdomain,
			Validate: api.Check(validateBudget),
			PrepareCreate: api.Each(func(n *policyv1.PodDisruptionBudget) {
				n.Status = policyv1.PodDisruptionBudgetStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *policyv1.PodDisruptionBudget) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields: [][]string{{"status"}},
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "PodDisruptionBudget", Verbs: api.StatusVerbs, New: api.New[policyv1.PodDisruptionBudget](),
				PrepareUpdate:  api.Change(func(n, o *policyv1.PodDisruptionBudget) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateBudgetStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: budgetColumns(),
	}
}
