package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// controllerRevision declares the resource controllerrevisions.
func controllerRevision() *api.Resource {
	return &api.Resource{
		Group: "apps",
		Kind:  "ControllerRevision", Plural: "controllerrevisions", Singular: "controllerrevision",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[appsv1.ControllerRevision](), NewList: api.New[appsv1.ControllerRevisionList]()}},
		Storage:    "v1",
		Prefix:     "controllerrevisions",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateRevision),
			ValidateUpdate:      api.CheckChange(validateRevisionUpdate),
			UnconditionalUpdate: true,
		},
		Columns: revisionColumns(),
	}
}
