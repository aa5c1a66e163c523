// Package builtin is the one list of all built-in resources: the GA kinds of Kubernetes 1.36 and the
// removed beta versions that are served by conversion. It declares nothing itself; each group's package
// does. The API server and tests import it.
package builtin

import (
	"slices"

	"nau/internal/api"
	"nau/internal/api/admissionregistration"
	"nau/internal/api/apiextensions"
	"nau/internal/api/apiregistration"
	"nau/internal/api/apps"
	"nau/internal/api/authentication"
	"nau/internal/api/authorization"
	"nau/internal/api/autoscaling"
	"nau/internal/api/batch"
	"nau/internal/api/certificates"
	"nau/internal/api/coordination"
	"nau/internal/api/core"
	"nau/internal/api/discovery"
	"nau/internal/api/flowcontrol"
	"nau/internal/api/networking"
	"nau/internal/api/node"
	"nau/internal/api/policy"
	"nau/internal/api/rbac"
	"nau/internal/api/resource"
	"nau/internal/api/scheduling"
	"nau/internal/api/storage"
)

// Table returns all built-in resources. Each call builds the declarations anew.
func Table() []*api.Resource {
	return slices.Concat(
		core.Resources(),
		apps.Resources(),
		batch.Resources(),
		autoscaling.Resources(),
		networking.Resources(),
		policy.Resources(),
		rbac.Resources(),
		storage.Resources(),
		scheduling.Resources(),
		coordination.Resources(),
		discovery.Resources(),
		node.Resources(),
		admissionregistration.Resources(),
		apiextensions.Resources(),
		apiregistration.Resources(),
		certificates.Resources(),
		flowcontrol.Resources(),
		resource.Resources(),
		authentication.Resources(),
		authorization.Resources(),
	)
}

// Index returns the lookups on Table. The table is fixed at build time and a test proves that it can be
// indexed, so an error here is a bug and panics.
func Index() *api.Index {
	x, err := api.NewIndex(Table())
	if err != nil {
		panic(err)
	}
	return x
}
