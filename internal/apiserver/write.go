package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/certificates"
	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/identity"
	"nau/internal/store"
)

// writing is one write on its way: the call, what it writes through, and its options.
type writing struct {
	*call
	writeOptions
	options runtime.Object // as admission sees them
	// checks judge the object just before it is stored, after validation (preconditions of subresources).
	preconditionUID types.UID
	// scaled is set when the object is written through its scale, which admission is told.
	scaled *api.Subresource
	// migrates is set when the present state is stored in another version than objects are stored in now: writing it changes that,
	// whatever else it changes.
	migrates bool
}

// attempts bounds how often a write that names no resource version is tried against a moving object.
const attempts = 32

func (w *writing) attributes(op admission.Operation, name string, obj, old runtime.Object) *admission.Request {
	r := &admission.Request{
		Kind: w.ep.gvk, Resource: w.ep.gvr, Name: name, Namespace: w.namespace(),
		Operation: op, Object: obj, OldObject: old, Options: w.options, User: w.user, DryRun: w.dryRun, Warn: w.warn,
	}
	if w.sub != nil {
		r.Subresource = w.sub.Name
	}
	switch {
	case w.scaled != nil || w.sub != nil && w.sub.Scale != nil:
		sub := w.scaled
		if sub == nil {
			sub = w.sub
		}
		r.Kind, r.Subresource = schema.GroupVersionKind{Group: sub.Group, Version: sub.Version, Kind: sub.Kind}, sub.Name
		r.Shapes = scaleShape{r.Resource, r.Kind, sub, obj}
	case w.sub == nil || w.sub.Kind == w.ep.gvk.Kind:
		r.Shapes = shapes{w.ep, w.call}
	default:
		r.Kind = w.subGVK()
	}
	return r
}

// create takes a new object of the stored shape to the store: admission, system fields, strategy, validation, commit.
func (w *writing) create(ctx context.Context, obj runtime.Object) (*store.Entry, error) {
	ep, s := w.ep, w.ep.res.Strategy
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := w.settleNamespace(m); err != nil {
		return nil, err
	}
	if m.GetResourceVersion() != "" {
		return nil, errors.New("resourceVersion should not be set on objects to be created")
	}
	attr := w.attributes(admission.Create, m.GetName(), obj, nil)
	if err := w.srv.admission.Admit(ctx, attr); err != nil {
		return nil, err
	}
	m.SetDeletionTimestamp(nil)
	m.SetDeletionGracePeriodSeconds(nil)
	m.SetSelfLink("")
	m.SetCreationTimestamp(w.srv.now())
	m.SetUID(uuid.NewUUID())
	generated := m.GetName() == "" && m.GetGenerateName() != ""
	if generated {
		m.SetName(generateName(m.GetGenerateName()))
	}
	if s.PrepareCreate != nil {
		s.PrepareCreate(obj)
	}
	signRequest(obj, w.user)
	committed := false
	if ep.hooks != nil {
		done, err := ep.hooks.create(obj, w.dryRun)
		if err != nil {
			return nil, w.invalid(obj, m.GetName(), err)
		}
		defer func() { done(committed) }()
	}
	if s.Validate != nil {
		if errs := s.Validate(obj); len(errs) > 0 {
			return nil, apierrors.NewInvalid(ep.storage.GroupKind(), m.GetName(), errs)
		}
	}
	if s.Warnings != nil {
		for _, text := range s.Warnings(obj, nil) {
			w.warn(text)
		}
	}
	attr.Name = m.GetName()
	if err := w.srv.admission.Validate(ctx, attr); err != nil {
		return nil, err
	}
	var entry *store.Entry
	for try := 0; ; try++ {
		key := ep.key(w.namespace(), m.GetName())
		if w.dryRun {
			if _, err = ep.open().Get(ctx, key, 0); err == nil {
				err = store.ErrExists
			} else if errors.Is(err, store.ErrNotFound) {
				err = nil
				entry = &store.Entry{Key: key, Object: obj}
			}
		} else {
			keep := obj
			if generated {
				keep = obj.DeepCopyObject() // a second try needs the object back
			}
			entry, err = w.put(ctx, key, 0, keep)
		}
		if !errors.Is(err, store.ErrExists) || !generated {
			break
		}
		if try == 7 {
			return nil, nameTaken(w.call, m.GetName())
		}
		m.SetName(generateName(m.GetGenerateName()))
		if s.PrepareCreate != nil {
			s.PrepareCreate(obj) // some kinds carry their name elsewhere as well
		}
	}
	w.srv.admission.Settle(ctx, attr, err)
	if errors.Is(err, store.ErrExists) {
		return nil, w.taken(ctx, m.GetName())
	}
	if err != nil {
		return nil, translate(err, w.gr(), m.GetName())
	}
	committed = true
	return entry, nil
}

// taken says that there is an object of that name already, and if so that it is on its way out: to try again helps then.
func (w *writing) taken(ctx context.Context, name string) error {
	err := apierrors.NewAlreadyExists(w.gr(), name)
	if e, gerr := w.ep.open().Get(ctx, w.ep.key(w.namespace(), name), 0); gerr == nil {
		if m, merr := meta.Accessor(e.Object); merr == nil && m.GetDeletionTimestamp() != nil {
			err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
		}
	}
	return err
}

// signRequest writes into a certificate signing request who made it: approvers and signers decide on that.
func signRequest(obj runtime.Object, u *identity.User) {
	if csr, ok := obj.(*certificatesv1.CertificateSigningRequest); ok {
		certificates.SetRequester(csr, u.Name, u.UID, u.Groups, u.Extra)
	}
}

func nameTaken(c *call, name string) error {
	e := apierrors.NewGenerateNameConflict(c.gr(), name, 1)
	return e
}

// put encodes and commits; expect 0 creates. The object belongs to the store afterwards.
func (w *writing) put(ctx context.Context, key string, expect int64, obj runtime.Object) (*store.Entry, error) {
	obj, err := w.ep.convert(obj, w.ep.storage)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	b, err := w.ep.encodeStored(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("encode %s: %w", w.ep.storage.Kind, err))
	}
	v := store.Value{Object: obj, Bytes: b}
	if expect == 0 {
		return w.ep.open().Create(ctx, key, v)
	}
	return w.ep.open().Update(ctx, key, expect, v)
}

// settleNamespace makes the object's namespace that of the request.
func (c *call) settleNamespace(m metav1.Object) error {
	ns := c.namespace()
	if c.ep.res.Namespaced && ns == "" {
		return apierrors.NewBadRequest("an empty namespace may not be set when a resource name is provided")
	}
	switch m.GetNamespace() {
	case ns:
	case "":
		m.SetNamespace(ns)
	default:
		if !c.ep.res.Namespaced {
			m.SetNamespace("")
			return nil
		}
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// A change makes the next state of an object. old is the stored object, read only; new is the caller's to keep. A nil new
// without an error means that nothing is to be done.
type change func(ctx context.Context, old *store.Entry) (new runtime.Object, err error)

// update runs change on the present state until the outcome is stored. The change gets and returns the stored shape; absent,
// if given, makes the object when there is none.
func (w *writing) update(ctx context.Context, name string, do change, absent func(context.Context) (runtime.Object, error)) (entry *store.Entry, created bool, err error) {
	key := w.ep.key(w.namespace(), name)
	for try := 0; ; try++ {
		old, err := w.ep.open().Get(ctx, key, 0)
		if errors.Is(err, store.ErrNotFound) && absent != nil {
			obj, err := absent(ctx)
			if err != nil {
				return nil, false, err
			}
			e, err := w.create(ctx, obj)
			if apierrors.IsAlreadyExists(err) && try < attempts {
				continue
			}
			return e, true, err
		}
		if err != nil {
			return nil, false, translate(err, w.gr(), name)
		}
		if old, err = w.inShape(old); err != nil {
			return nil, false, err
		}
		obj, err := do(ctx, old)
		if err != nil {
			return nil, false, err
		}
		if obj == nil {
			return old, false, nil
		}
		fixed := false
		e, err := w.replace(ctx, old, obj, &fixed)
		if errors.Is(err, store.ErrConflict) && !fixed && try < attempts && ctx.Err() == nil {
			continue
		}
		if errors.Is(err, store.ErrNotFound) && absent != nil && try < attempts {
			continue
		}
		return e, false, translate(err, w.gr(), name)
	}
}

// inShape is the present state in the shape in which its change is judged: for custom objects the request's version.
func (w *writing) inShape(old *store.Entry) (*store.Entry, error) {
	if !w.ep.schemaless {
		return old, nil
	}
	w.migrates = old.Object.GetObjectKind().GroupVersionKind() != w.ep.storage
	obj, err := w.ep.toVersion(old.Object)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if obj == old.Object {
		return old, nil
	}
	return &store.Entry{Key: old.Key, Object: obj, Revision: old.Revision}, nil
}

// replace takes the next state of an object to the store. fixed is set when the client named the resource version that it
// means, so that a conflict is its own.
func (w *writing) replace(ctx context.Context, old *store.Entry, obj runtime.Object, fixed *bool) (*store.Entry, error) {
	ep, s := w.ep, &w.ep.res.Strategy
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	om, err := meta.Accessor(old.Object)
	if err != nil {
		return nil, err
	}
	name := om.GetName()
	if err := w.settleNamespace(m); err != nil {
		return nil, err
	}
	if uid := w.preconditionUID; uid != "" && uid != om.GetUID() {
		return nil, apierrors.NewConflict(w.gr(), name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, om.GetUID()))
	}
	attr := w.attributes(admission.Update, name, obj, old.Object)
	if err := w.srv.admission.Admit(ctx, attr); err != nil {
		return nil, err
	}
	switch rv := m.GetResourceVersion(); rv {
	case "", "0":
		if !s.UnconditionalUpdate && w.sub == nil && rv == "" && w.r.Method == "PUT" {
			return nil, apierrors.NewInvalid(ep.storage.GroupKind(), name, field.ErrorList{
				field.Invalid(field.NewPath("metadata").Child("resourceVersion"), 0, "must be specified for an update")})
		}
	default:
		n, err := strconv.ParseInt(rv, 10, 64)
		if err != nil {
			return nil, apierrors.NewInvalid(ep.storage.GroupKind(), name, field.ErrorList{
				field.Invalid(field.NewPath("metadata").Child("resourceVersion"), rv, err.Error())})
		}
		*fixed = true
		if n != old.Revision {
			return nil, apierrors.NewConflict(w.gr(), name, errModified)
		}
	}
	m.SetResourceVersion(om.GetResourceVersion())

	keepSystemFields(m, om)
	prepare, validate, warnings := s.PrepareUpdate, s.ValidateUpdate, s.Warnings
	if w.sub != nil {
		prepare, validate, warnings = w.sub.PrepareUpdate, w.sub.ValidateUpdate, w.sub.Warnings
	}
	if prepare != nil {
		prepare(obj, old.Object)
	}
	committed := false
	if ep.hooks != nil && w.sub == nil {
		done, err := ep.hooks.update(obj, old.Object, w.dryRun)
		if err != nil {
			return nil, w.invalid(obj, name, err)
		}
		defer func() { done(committed) }()
	}
	errs := judgeMeta(m, om)
	if validate != nil {
		errs = append(errs, validate(obj, old.Object)...)
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(ep.storage.GroupKind(), name, errs)
	}
	if warnings != nil {
		for _, text := range warnings(obj, old.Object) {
			w.warn(text)
		}
	}
	if err := w.srv.admission.Validate(ctx, attr); err != nil {
		return nil, err
	}

	e, err := w.commit(ctx, old, obj)
	w.srv.admission.Settle(ctx, attr, err)
	committed = err == nil
	return e, err
}

// commit stores the next state, unless it is the present one; an object whose deletion waited for nothing else goes.
func (w *writing) commit(ctx context.Context, old *store.Entry, obj runtime.Object) (*store.Entry, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	if w.dryRun {
		w.ep.bare(obj)
		return &store.Entry{Key: old.Key, Object: obj, Revision: old.Revision}, nil
	}
	if w.ep.finished(obj) {
		e, err := w.ep.open().Delete(ctx, old.Key, old.Revision)
		if err == nil && w.ep.hooks != nil {
			w.ep.hooks.deleted(old.Object)
		}
		if err != nil {
			return nil, err
		}
		// The client gets the state that it wrote, which is the last one.
		m.SetResourceVersion(strconv.FormatInt(e.Revision, 10))
		w.ep.bare(obj)
		return &store.Entry{Key: old.Key, Object: obj, Revision: e.Revision}, nil
	}
	same, err := w.unchanged(old, obj)
	if err != nil {
		return nil, err
	}
	if same {
		return old, nil
	}
	return w.put(ctx, old.Key, old.Revision, obj)
}

// unchanged compares with the stored state, managed fields' times aside.
func (w *writing) unchanged(old *store.Entry, obj runtime.Object) (bool, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return false, err
	}
	om, err := meta.Accessor(old.Object)
	if err != nil {
		return false, err
	}
	if m.GetGeneration() != om.GetGeneration() || w.migrates {
		return false, nil
	}
	if !sameButTimes(m.GetManagedFields(), om.GetManagedFields()) {
		return false, nil
	}
	m.SetManagedFields(om.GetManagedFields())
	w.ep.bare(obj)
	m.SetResourceVersion(om.GetResourceVersion())
	return equalObjects(obj, old.Object)
}

func sameButTimes(a, b []metav1.ManagedFieldsEntry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := &a[i], &b[i]
		if x.Manager != y.Manager || x.Operation != y.Operation || x.APIVersion != y.APIVersion || x.Subresource != y.Subresource {
			return false
		}
		if (x.FieldsV1 == nil) != (y.FieldsV1 == nil) {
			return false
		}
		if x.FieldsV1 != nil && !bytes.Equal(x.FieldsV1.GetRawBytes(), y.FieldsV1.GetRawBytes()) {
			return false
		}
	}
	return true
}

// keepSystemFields holds what no client may change.
func keepSystemFields(m, om metav1.Object) {
	m.SetGeneration(om.GetGeneration())
	m.SetSelfLink("")
	if m.GetUID() == "" {
		m.SetUID(om.GetUID())
	}
	if t := om.GetCreationTimestamp(); !t.IsZero() {
		m.SetCreationTimestamp(t)
	}
	// A deletion that began is not changed by an update. One that did not begin cannot be begun so: validation refuses it.
	if om.GetDeletionTimestamp() != nil {
		m.SetDeletionTimestamp(om.GetDeletionTimestamp())
		if m.GetDeletionGracePeriodSeconds() == nil {
			m.SetDeletionGracePeriodSeconds(om.GetDeletionGracePeriodSeconds())
		}
	}
	if m.GetGenerateName() == "" {
		m.SetGenerateName(om.GetGenerateName())
	}
}

// judgeMeta checks the rules on metadata that hold for every kind and that strategies may leave out.
func judgeMeta(m, om metav1.Object) (errs field.ErrorList) {
	if m.GetName() != om.GetName() {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), m.GetName(), "field is immutable"))
	}
	return errs
}

func (w *writing) invalid(obj runtime.Object, name string, err error) error {
	var fe *field.Error
	if errors.As(err, &fe) {
		return apierrors.NewInvalid(w.ep.storage.GroupKind(), name, field.ErrorList{fe})
	}
	return err
}

// generateName appends five random characters, within 63.
func generateName(base string) string {
	const max, random = 63, 5
	if len(base) > max-random {
		base = base[:max-random]
	}
	return base + utilrand.String(random)
}

// finished tells whether an update took away the last thing that a deletion waited for.
func (k *kind) finished(obj runtime.Object) bool {
	m, err := meta.Accessor(obj)
	if err != nil || m.GetDeletionTimestamp() == nil || len(m.GetFinalizers()) > 0 || specFinalizers(obj) {
		return false
	}
	g := m.GetDeletionGracePeriodSeconds()
	return g == nil || *g == 0
}

// writer starts a write with the options of its kind.
func (c *call) writer(kind string) (*writing, error) {
	o, err := parseWriteOptions(c.query, kind, c.r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	return c.writing(o, kind), nil
}

func (c *call) writing(o writeOptions, kind string) *writing {
	w := &writing{call: c, writeOptions: o}
	var dry []string
	if o.dryRun {
		dry = []string{metav1.DryRunAll}
	}
	switch kind {
	case "CreateOptions":
		w.options = &metav1.CreateOptions{TypeMeta: metav1.TypeMeta{Kind: kind, APIVersion: "meta.k8s.io/v1"}, DryRun: dry, FieldManager: o.manager, FieldValidation: o.validation}
	case "UpdateOptions":
		w.options = &metav1.UpdateOptions{TypeMeta: metav1.TypeMeta{Kind: kind, APIVersion: "meta.k8s.io/v1"}, DryRun: dry, FieldManager: o.manager, FieldValidation: o.validation}
	case "PatchOptions":
		w.options = &metav1.PatchOptions{TypeMeta: metav1.TypeMeta{Kind: kind, APIVersion: "meta.k8s.io/v1"}, DryRun: dry, FieldManager: o.manager, FieldValidation: o.validation, Force: o.force}
	}
	return w
}
