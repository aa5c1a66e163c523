package node

import (
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/core"
	"nau/internal/api/meta"
)

func validateRuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	errs := meta.DNSLabel(field.NewPath("handler"), c.Handler)
	if c.Overhead != nil {
		for _, name := range sets.List(sets.KeySet(c.Overhead.PodFixed)) {
			at := field.NewPath("overhead", "podFixed").Key(string(name))
			errs = append(errs, meta.QualifiedName(at, string(name))...)
			errs = append(errs, core.ValidateQuantity(at, name, c.Overhead.PodFixed[name])...)
		}
	}
	if s := c.Scheduling; s != nil {
		errs = append(errs, meta.Labels(field.NewPath("scheduling", "nodeSelector"), s.NodeSelector)...)
		errs = append(errs, core.ValidateTolerations(field.NewPath("scheduling", "tolerations"), s.Tolerations)...)
	}
	return errs
}

func validateRuntimeClassUpdate(new, old *nodev1.RuntimeClass) field.ErrorList {
	return meta.Immutable(field.NewPath("handler"), new.Handler, old.Handler)
}

func runtimeClassColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Handler", nodev1.RuntimeClass{}.SwaggerDoc()["handler"], func(c *nodev1.RuntimeClass) string { return c.Handler }),
		column.Age(),
	}
}
