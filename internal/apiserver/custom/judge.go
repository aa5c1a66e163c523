package custom

import (
	"context"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// judge validates against a schema: its values, its lists' keys, its rules in CEL.
type judge struct {
	structural *schema.Structural
	values     validation.SchemaValidator
	rules      *cel.Validator // nil without rules
}

// The budgets of CEL are upstream's: cost units for one rule, and for all rules of an object.
const (
	ruleCost   = 1_000_000
	objectCost = 10_000_000
)

func newJudge(internal *apiext.JSONSchemaProps, s *schema.Structural) (*judge, error) {
	values, _, err := validation.NewSchemaValidator(internal)
	if err != nil {
		return nil, err
	}
	return &judge{structural: s, values: values, rules: cel.NewValidator(s, true, ruleCost)}, nil
}

func (k *Kind) judgeOf(u *unstructured.Unstructured) *judge {
	if v := k.versions[u.GroupVersionKind().Version]; v != nil {
		return v.judge
	}
	return nil
}

func (k *Kind) validate(obj runtime.Object) field.ErrorList {
	u := obj.(*unstructured.Unstructured)
	m, err := meta.Accessor(obj)
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), nil, err.Error())}
	}
	errs := apivalidation.ValidateObjectMetaAccessor(m, k.Resource.Namespaced, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	j := k.judgeOf(u)
	if j == nil {
		return errs
	}
	errs = append(errs, validation.ValidateCustomResource(nil, u.UnstructuredContent(), j.values)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, j.structural, u.UnstructuredContent())...)
	if j.rules != nil && len(errs) == 0 {
		more, _ := j.rules.Validate(context.Background(), nil, j.structural, u.UnstructuredContent(), nil, objectCost)
		errs = append(errs, more...)
	}
	return errs
}

func (k *Kind) validateUpdate(new, old runtime.Object) field.ErrorList {
	n, o := new.(*unstructured.Unstructured), old.(*unstructured.Unstructured)
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(n, o, field.NewPath("metadata"))
	errs = append(errs, apivalidation.ValidateObjectMetaAccessor(n, k.Resource.Namespaced, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	j := k.judgeOf(n)
	if j == nil {
		return errs
	}
	errs = append(errs, validation.ValidateCustomResourceUpdate(nil, n.UnstructuredContent(), o.UnstructuredContent(), j.values)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, j.structural, n.UnstructuredContent())...)
	if j.rules != nil && len(errs) == 0 {
		more, _ := j.rules.Validate(context.Background(), nil, j.structural, n.UnstructuredContent(), o.UnstructuredContent(), objectCost)
		errs = append(errs, more...)
	}
	return errs
}
