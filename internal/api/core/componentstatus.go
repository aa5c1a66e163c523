package core

import (
	corev1 "k8s.io/api/core/v1"

	"nau/internal/api"
)

// componentStatus declares the resource componentstatuses.
func componentStatus() *api.Resource {
	return &api.Resource{
		Kind: "ComponentStatus", Plural: "componentstatuses", Singular: "componentstatus",
		ShortNames: []string{"cs"},
		Versions: []api.Version{{Name: "v1", New: api.New[corev1.ComponentStatus](), NewList: api.New[corev1.ComponentStatusList](),
			Deprecation: "v1 ComponentStatus is deprecated in v1.19+"}},
		Storage: "v1",
		Virtual: true,
		Verbs:   []string{"get", "list"},
		Columns: componentStatusColumns(),
	}
}
