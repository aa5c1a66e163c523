package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// job declares the resource jobs.
func job() *api.Resource {
	return &api.Resource{
		Group: "batch",
		Kind:  "Job", Plural: "jobs", Singular: "job",
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[batchv1.Job](), NewList: api.New[batchv1.JobList](), Default: api.Each(DefaultJob)}},
		Storage:    "v1",
		Prefix:     "jobs",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			PrepareCreate:       api.Each(prepareJob),
			PrepareUpdate:       api.Change(prepareJobUpdate),
			Validate:            api.Check(validateJob),
			ValidateUpdate:      api.CheckChange(validateJobUpdate),
			Warnings:            api.Warn(jobWarnings),
			OrphanByDefault:     true,
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Job", Verbs: api.StatusVerbs, New: api.New[batchv1.Job](),
				PrepareUpdate:  api.Change(func(n, o *batchv1.Job) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateJobStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: jobColumns(),
		Fields:  func(o runtime.Object) fields.Set { return jobFields(o.(*batchv1.Job)) },
	}
}
