package custom

import (
	"context"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/common"
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
	doc := u.UnstructuredContent()
	errs = append(errs, validation.ValidateCustomResource(nil, doc, j.values)...)
	errs = append(errs, objectmeta.Validate(nil, doc, j.structural, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, j.structural, doc)...)
	return append(errs, j.obey(errs, doc, nil, nil)...)
}

// validateUpdate forgives what was wrong before and is not changed: a definition may have become stricter in the meantime
// (KEP-4008).
func (k *Kind) validateUpdate(new, old runtime.Object) field.ErrorList {
	n, o := new.(*unstructured.Unstructured), old.(*unstructured.Unstructured)
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(n, o, field.NewPath("metadata"))
	errs = append(errs, apivalidation.ValidateObjectMetaAccessor(n, k.Resource.Namespaced, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	j := k.judgeOf(n)
	if j == nil {
		return errs
	}
	doc, before := n.UnstructuredContent(), o.UnstructuredContent()
	pairs := common.NewCorrelatedObject(doc, before, &model.Structural{Structural: j.structural})
	errs = append(errs, validation.ValidateCustomResourceUpdate(nil, doc, before, j.values, validation.WithRatcheting(pairs))...)
	errs = append(errs, objectmeta.Validate(nil, doc, j.structural, false)...)
	if len(listtype.ValidateListSetsAndMaps(nil, j.structural, before)) == 0 {
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, j.structural, doc)...)
	}
	return append(errs, j.obey(errs, doc, before, pairs)...)
}

// obey checks the rules in CEL, unless what was found already leaves them without sense or bound. before and pairs are nil
// for a new object.
func (j *judge) obey(found field.ErrorList, doc, before map[string]any, pairs *common.CorrelatedObject) field.ErrorList {
	if j.rules == nil {
		return nil
	}
	for _, e := range found {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return field.ErrorList{field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")}
		}
	}
	var old any
	var options []cel.Option
	if before != nil {
		old, options = before, append(options, cel.WithRatcheting(pairs))
	}
	errs, _ := j.rules.Validate(context.Background(), nil, j.structural, doc, old, objectCost, options...)
	return errs
}
