package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	batchv1beta1 "k8s.io/api/batch/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// cronJob declares the resource cronjobs.
func cronJob() *api.Resource {
	return &api.Resource{
		Group: "batch",
		Kind:  "CronJob", Plural: "cronjobs", Singular: "cronjob",
		ShortNames: []string{"cj"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions: []api.Version{
			{Name: "v1", New: api.New[batchv1.CronJob](), NewList: api.New[batchv1.CronJobList](), Default: api.Each(DefaultCronJob)},
			{Name: "v1beta1", New: api.New[batchv1beta1.CronJob](), NewList: api.New[batchv1beta1.CronJobList](),
				Default: api.Each(DefaultCronJobV1beta1), ToStorage: api.Convert(cronJobToV1), FromStorage: api.Convert(cronJobFromV1),
				Deprecation: "batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob"},
		},
		Storage: "v1",
		Prefix:  "cronjobs",
		Verbs:   api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateCronJob),
			ValidateUpdate: api.CheckChange(validateCronJobUpdate),
			Warnings:       api.Warn(cronJobWarnings),
			PrepareCreate: api.Each(func(n *batchv1.CronJob) {
				n.Status = batchv1.CronJobStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *batchv1.CronJob) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "CronJob", Verbs: api.StatusVerbs, New: api.New[batchv1.CronJob](),
				PrepareUpdate: api.Change(func(n, o *batchv1.CronJob) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
		Columns: cronJobColumns(),
	}
}
