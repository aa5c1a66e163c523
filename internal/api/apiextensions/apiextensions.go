// Package apiextensions declares the resources of the API group apiextensions.k8s.io: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package apiextensions

import (
	"nau/internal/api"
	"nau/internal/api/meta"
)

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return meta.Guarded([]*api.Resource{
		customResourceDefinition(),
	})
}
