package core

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// event declares the resource events.
func event() *api.Resource {
	return &api.Resource{
		Kind: "Event", Plural: "events", Singular: "event",
		ShortNames: []string{"ev"},
		Namespaced: true,
		Versions: []api.Version{
			{Name: "v1", New: api.New[corev1.Event](), NewList: api.New[corev1.EventList]()},
			{Group: "events.k8s.io", Name: "v1", New: api.New[eventsv1.Event](), NewList: api.New[eventsv1.EventList](),
				ToStorage: api.Convert(eventToCore), FromStorage: api.Convert(eventFromCore)},
		},
		Storage: "v1",
		Prefix:  "events",
		Verbs:   api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateEvent),
			ValidateUpdate:      api.CheckChange(validateEventUpdate),
			CreateOnUpdate:      true,
			UnconditionalUpdate: true,
		},
		Columns:      eventColumns(),
		FieldAliases: eventAliases(),
		Fields:       func(o runtime.Object) fields.Set { return eventFields(o.(*corev1.Event)) },
	}
}
