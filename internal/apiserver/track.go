package apiserver

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"nau/internal/apiserver/model"
)

// trackQuickly does what the field manager does for writes that are no apply, at a fraction of its price: it compares only what
// differs, decodes each distinct set of fields once, and encodes only sets that changed. It declines (false) whatever is out
// of the ordinary, such as entries of other versions or clients that edit managedFields; the field manager does those.
func (ep *endpoint) trackQuickly(live, obj runtime.Object, subresource, manager string, now time.Time) bool {
	now = now.UTC().Truncate(time.Second)
	types, ok := ep.types().(*model.Types)
	if !ok || ep.ver.ToStorage != nil || ep.ver.FromStorage != nil {
		return false
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	var entries []metav1.ManagedFieldsEntry
	before := ep.sample
	if live != nil {
		before = live
		lm, err := meta.Accessor(live)
		if err != nil {
			return false
		}
		entries = lm.GetManagedFields()
		if len(entries) == 0 {
			return false
		}
	}
	sent := m.GetManagedFields()
	if subresource == "" && !(sent == nil && live != nil || live == nil && len(sent) == 0 && sent == nil || sameEntries(sent, entries)) {
		return false
	}
	version := fieldpath.APIVersion(ep.gvk.GroupVersion().String())
	updates := 0
	sets := make([]*fieldpath.Set, len(entries))
	mine := -1
	for i := range entries {
		e := &entries[i]
		if e.APIVersion != string(version) || e.FieldsType != "FieldsV1" || e.FieldsV1 == nil {
			return false
		}
		if sets[i] = fieldSet(e.FieldsV1.GetRawBytes()); sets[i] == nil {
			return false
		}
		if e.Operation == metav1.ManagedFieldsOperationUpdate {
			updates++
			if e.Manager == manager && e.Subresource == subresource {
				if mine >= 0 {
					return false
				}
				mine = i
			}
		}
	}
	if updates >= 10 && mine < 0 {
		return false // the oldest would have to be merged
	}
	m.SetManagedFields(nil)
	if live == nil && subresource == "" {
		if raw, ok := ep.created(obj); ok {
			if raw != nil {
				m.SetManagedFields([]metav1.ManagedFieldsEntry{{
					Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: string(version),
					Time: &metav1.Time{Time: now}, FieldsType: "FieldsV1", FieldsV1: remember(raw).encoded,
				}})
			}
			return true
		}
	}
	parse, err := types.Of(ep.gvk)
	if err != nil {
		m.SetManagedFields(sent)
		return false
	}
	x, y := model.Prune(reflect.ValueOf(before).Elem(), reflect.ValueOf(obj).Elem())
	old, err1 := asTyped(parse, x)
	new, err2 := asTyped(parse, y)
	if err1 != nil || err2 != nil {
		m.SetManagedFields(sent)
		return false
	}
	diff, err := old.Compare(new)
	if err != nil {
		m.SetManagedFields(sent)
		return false
	}
	if f := ep.resetFilter(subresource)[version]; f != nil {
		diff = diff.FilterFields(f)
	}
	changed := diff.Modified.Union(diff.Added)
	out := make([]metav1.ManagedFieldsEntry, 0, len(entries)+1)
	own := changed.Difference(stripped)
	for i := range entries {
		e, set := entries[i], sets[i]
		next := set
		if !changed.Empty() && !set.Intersection(changed).Empty() {
			next = next.Difference(changed)
		}
		if !diff.Removed.Empty() {
			next = next.Difference(diff.Removed)
		}
		if i == mine && !own.Empty() {
			next = set.Difference(diff.Removed).Union(own)
			e.Time = &metav1.Time{Time: now}
		}
		if next.Empty() {
			continue
		}
		if next != set && !next.Equals(set) {
			raw, err := encodeSet(next)
			if err != nil {
				m.SetManagedFields(sent)
				return false
			}
			e.FieldsV1 = raw
		}
		out = append(out, e)
	}
	if mine < 0 && !own.Empty() {
		raw, err := encodeSet(own)
		if err != nil {
			m.SetManagedFields(sent)
			return false
		}
		out = append(out, metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: string(version),
			Time: &metav1.Time{Time: now}, FieldsType: "FieldsV1", FieldsV1: raw, Subresource: subresource,
		})
	}
	slices.SortStableFunc(out, compareEntries)
	if len(out) == 0 {
		out = nil
	}
	m.SetManagedFields(out)
	return true
}

// created are the fields that the creator of an object owns, encoded; nil for none.
func (ep *endpoint) created(obj runtime.Object) ([]byte, bool) {
	for _, p := range ep.res.Strategy.ResetFields {
		if len(p) != 1 {
			return nil, false
		}
	}
	return model.Added(reflect.ValueOf(ep.sample).Elem(), reflect.ValueOf(obj).Elem(), func(name string) bool {
		switch name {
		case "apiVersion", "kind",
			"metadata.name", "metadata.namespace", "metadata.creationTimestamp", "metadata.selfLink", "metadata.uid",
			"metadata.generation", "metadata.managedFields", "metadata.resourceVersion":
			return true
		}
		for _, p := range ep.res.Strategy.ResetFields {
			if p[0] == name {
				return true
			}
		}
		return false
	})
}

func asTyped(p *typed.ParseableType, v reflect.Value) (*typed.TypedValue, error) {
	val, err := value.NewValueReflect(v.Addr().Interface())
	if err != nil {
		return nil, err
	}
	return typed.AsTypedUnvalidated(val, p.Schema, p.TypeRef), nil
}

// compareEntries is the order in which managed fields are stored.
func compareEntries(a, b metav1.ManagedFieldsEntry) int {
	if c := strings.Compare(string(a.Operation), string(b.Operation)); c != 0 {
		return c
	}
	if c := unix(a.Time) - unix(b.Time); c != 0 {
		return int(min(max(c, -1), 1))
	}
	if c := strings.Compare(a.Manager, b.Manager); c != 0 {
		return c
	}
	if c := strings.Compare(a.APIVersion, b.APIVersion); c != 0 {
		return c
	}
	return strings.Compare(a.Subresource, b.Subresource)
}

func unix(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

func sameEntries(a, b []metav1.ManagedFieldsEntry) bool {
	if len(a) != len(b) || a == nil {
		return false
	}
	for i := range a {
		if unix(a[i].Time) != unix(b[i].Time) || a[i].FieldsType != b[i].FieldsType {
			return false
		}
	}
	return sameButTimes(a, b)
}

// stripped are the fields that nobody owns.
var stripped = fieldpath.NewSet(
	fieldpath.MakePathOrDie("apiVersion"), fieldpath.MakePathOrDie("kind"), fieldpath.MakePathOrDie("metadata"),
	fieldpath.MakePathOrDie("metadata", "name"), fieldpath.MakePathOrDie("metadata", "namespace"),
	fieldpath.MakePathOrDie("metadata", "creationTimestamp"), fieldpath.MakePathOrDie("metadata", "selfLink"),
	fieldpath.MakePathOrDie("metadata", "uid"), fieldpath.MakePathOrDie("metadata", "clusterName"),
	fieldpath.MakePathOrDie("metadata", "generation"), fieldpath.MakePathOrDie("metadata", "managedFields"),
	fieldpath.MakePathOrDie("metadata", "resourceVersion"),
)

// known is one set of fields in both its forms. The objects of one controller have the same few: they share them. Read only.
type known struct {
	encoded *metav1.FieldsV1
	decode  sync.Once
	set     *fieldpath.Set // nil if it cannot be decoded
}

// sets remembers the sets of fields that were seen lately.
var sets = struct {
	sync.Mutex
	young, old map[string]*known
}{}

const (
	setsKept   = 512
	largestSet = 16 << 10 // a larger one is not remembered
)

// remember finds what is known of an encoded set.
func remember(raw []byte) *known {
	if len(raw) > largestSet {
		return &known{encoded: metav1.NewFieldsV1(string(raw))}
	}
	sets.Lock()
	defer sets.Unlock()
	if k := sets.young[string(raw)]; k != nil {
		return k
	}
	k := sets.old[string(raw)]
	if k == nil {
		k = &known{encoded: metav1.NewFieldsV1(string(raw))}
	}
	if len(sets.young) >= setsKept {
		sets.old, sets.young = sets.young, nil
	}
	if sets.young == nil {
		sets.young = map[string]*known{}
	}
	sets.young[string(raw)] = k
	return k
}

// fieldSet decodes a set, nil if that cannot be done.
func fieldSet(raw []byte) *fieldpath.Set {
	k := remember(raw)
	k.decode.Do(func() {
		s := &fieldpath.Set{}
		if s.FromJSON(bytes.NewReader(raw)) == nil {
			k.set = s
		}
	})
	return k.set
}

func encodeSet(s *fieldpath.Set) (*metav1.FieldsV1, error) {
	raw, err := s.ToJSON()
	if err != nil {
		return nil, err
	}
	return remember(raw).encoded, nil
}

// shareFields makes an object that was just decoded share its sets of fields with those like it.
func shareFields(obj runtime.Object) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	entries := m.GetManagedFields()
	for i := range entries {
		if f := entries[i].FieldsV1; f != nil {
			entries[i].FieldsV1 = remember(f.GetRawBytes()).encoded
		}
	}
}
