package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// lease declares the resource leases.
func lease() *api.Resource {
	return &api.Resource{
		Group: "coordination.k8s.io",
		Kind:  "Lease", Plural: "leases", Singular: "lease",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[coordinationv1.Lease](), NewList: api.New[coordinationv1.LeaseList]()}},
		Storage:    "v1",
		Prefix:     "leases",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateLease),
			CreateOnUpdate: true,
		},
		Columns: leaseColumns(),
	}
}
