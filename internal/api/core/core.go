// Package core declares the resources of the API group core: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package core

import (
	"nau/internal/api"
	"nau/internal/api/meta"
)

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return meta.Guarded([]*api.Resource{
		pod(),
		service(),
		endpoints(),
		node(),
		namespace(),
		configMap(),
		secret(),
		serviceAccount(),
		persistentVolume(),
		persistentVolumeClaim(),
		replicationController(),
		event(),
		limitRange(),
		resourceQuota(),
		podTemplate(),
		componentStatus(),
		binding(),
	})
}
