package apiextensions

import (
	"context"
	"fmt"
	"slices"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/meta"
)

// Defaults, conversion and validation of definitions are the schema library's: they belong to the
// language of schemas, which custom resources are checked with, too.

func prepare(c *apiextensionsv1.CustomResourceDefinition) {
	c.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	c.Generation = 1
	rememberStored(c)
}

func prepareUpdate(n, o *apiextensionsv1.CustomResourceDefinition) {
	n.Status = *o.Status.DeepCopy()
	meta.BumpGeneration(n, o, n.Spec, o.Spec)
	rememberStored(n)
}

// rememberStored notes the storage version among those that objects may be stored in.
func rememberStored(c *apiextensionsv1.CustomResourceDefinition) {
	for _, v := range c.Spec.Versions {
		if v.Storage && !slices.Contains(c.Status.StoredVersions, v.Name) {
			c.Status.StoredVersions = append(c.Status.StoredVersions, v.Name)
		}
	}
}

func internal(c *apiextensionsv1.CustomResourceDefinition) (*apiext.CustomResourceDefinition, error) {
	out := &apiext.CustomResourceDefinition{}
	// The conversion may share memory with its argument, which validation does not change.
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(c.DeepCopy(), out, nil); err != nil {
		return nil, fmt.Errorf("convert definition %s: %w", c.Name, err)
	}
	return out, nil
}

func validate(c *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	in, err := internal(c)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return validation.ValidateCustomResourceDefinition(context.Background(), in)
}

func validateUpdate(new, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	n, err := internal(new)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	o, err := internal(old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return validation.ValidateCustomResourceDefinitionUpdate(context.Background(), n, o)
}

func validateStatus(new, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	n, err := internal(new)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	o, err := internal(old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return validation.ValidateUpdateCustomResourceDefinitionStatus(n, o)
}

func columns() []api.Column { return []api.Column{column.Name(), column.CreatedAt()} }
