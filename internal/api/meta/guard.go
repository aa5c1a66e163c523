package meta

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
)

var metadataPath = field.NewPath("metadata")

// Guarded completes the strategies of stored resources with the rules on ObjectMeta, so that a kind
// declares its own rules only: on create the kind's name rule, labels, annotations, owners, finalizers;
// on update also what of the metadata may not change. The generation is never the client's. A kind without ValidateUpdate has an update
// checked like a new object. It changes the resources in place and returns them.
func Guarded(resources []*api.Resource) []*api.Resource {
	for _, r := range resources {
		if !r.Virtual {
			guard(r)
		}
	}
	return resources
}

func guard(r *api.Resource) {
	s := &r.Strategy
	own, ownUpdate := s.Validate, s.ValidateUpdate
	name, namespaced := s.Name, r.Namespaced
	s.Validate = func(obj runtime.Object) field.ErrorList {
		m := accessor(obj)
		errs := apivalidation.ValidateObjectMetaAccessor(m, namespaced, apivalidation.ValidateNameFunc(name), metadataPath)
		errs = append(errs, finalizers(r, m)...)
		if own != nil {
			errs = append(errs, own(obj)...)
		}
		return unique(errs)
	}
	s.ValidateUpdate = func(new, old runtime.Object) field.ErrorList {
		errs := append(update(new, old, namespaced), finalizers(r, accessor(new))...)
		switch {
		case ownUpdate != nil:
			errs = append(errs, ownUpdate(new, old)...)
		case own != nil:
			errs = append(errs, own(new)...)
		}
		return unique(errs)
	}
	s.PrepareUpdate = keepGeneration(s.PrepareUpdate)
	for i := range r.Subresources {
		sub := &r.Subresources[i]
		if sub.Kind != r.Kind || sub.Connect {
			continue
		}
		sub.PrepareUpdate = keepGeneration(sub.PrepareUpdate)
		ownUpdate := sub.ValidateUpdate
		sub.ValidateUpdate = func(new, old runtime.Object) field.ErrorList {
			errs := update(new, old, namespaced)
			if ownUpdate != nil {
				errs = append(errs, ownUpdate(new, old)...)
			}
			return unique(errs)
		}
	}
}

// keepGeneration: clients do not choose the generation; a strategy raises it from the old one.
func keepGeneration(own func(new, old runtime.Object)) func(new, old runtime.Object) {
	return func(new, old runtime.Object) {
		accessor(new).SetGeneration(accessor(old).GetGeneration())
		if own != nil {
			own(new, old)
		}
	}
}

// unique drops repetitions: borrowed validations check the metadata themselves.
func unique(errs field.ErrorList) field.ErrorList {
	if len(errs) < 2 {
		return errs
	}
	seen := map[string]bool{}
	out := errs[:0]
	for _, e := range errs {
		if text := e.Error(); !seen[text] {
			seen[text] = true
			out = append(out, e)
		}
	}
	return out
}

func update(new, old runtime.Object, namespaced bool) field.ErrorList {
	n, o := accessor(new), accessor(old)
	errs := apivalidation.ValidateObjectMetaAccessor(n, namespaced, path.ValidatePathSegmentName, metadataPath)
	return append(errs, apivalidation.ValidateObjectMetaAccessorUpdate(n, o, metadataPath)...)
}

func accessor(obj runtime.Object) metav1.Object {
	m, err := meta.Accessor(obj)
	if err != nil {
		panic(err) // every stored kind has ObjectMeta
	}
	return m
}

// Groups whose kinds take finalizers of any form, as they do upstream.
var anyFinalizer = map[string]bool{"admissionregistration.k8s.io": true, "apiextensions.k8s.io": true, "apiregistration.k8s.io": true,
	"coordination.k8s.io": true, "policy": true}

// standardFinalizers need no prefix.
var standardFinalizers = map[string]bool{"kubernetes": true, metav1.FinalizerOrphanDependents: true, metav1.FinalizerDeleteDependents: true}

// finalizers asks for a prefix: a bare name is a slip of the pen that would keep the object for ever.
func finalizers(r *api.Resource, m metav1.Object) (errs field.ErrorList) {
	if anyFinalizer[r.Group] {
		return nil
	}
	for i, f := range m.GetFinalizers() {
		errs = append(errs, Finalizer(metadataPath.Child("finalizers").Index(i), f)...)
	}
	return errs
}

// Finalizer checks that the name has a prefix or is a standard one.
func Finalizer(p *field.Path, name string) field.ErrorList {
	if strings.Contains(name, "/") || standardFinalizers[name] {
		return nil
	}
	return field.ErrorList{field.Invalid(p, name, "name is neither a standard finalizer name nor is it fully qualified")}
}
