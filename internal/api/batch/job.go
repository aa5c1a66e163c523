package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// job declares the resource jobs.
func job() *api.Resource {
	return &api.Resource{
		Group: "batch",
		Kind:  "Job", Plural: "jobs", Singular: "job",
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[batchv1.Job](), NewList: api.New[batchv1.JobList]()}},
		Storage:    "v1",
		Prefix:     "jobs",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name: apivalidation.NameIsDNSSubdomain,
			PrepareCreate: api.Each(func(n *batchv1.Job) {
				n.Status = batchv1.JobStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *batchv1.Job) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Job", Verbs: api.StatusVerbs, New: api.New[batchv1.Job](),
				PrepareUpdate: api.Change(func(n, o *batchv1.Job) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
	}
}
