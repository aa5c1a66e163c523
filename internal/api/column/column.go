// Package column writes the cells of server-side tables: ages, lists, label selectors, in the words
// that kubectl users know. It knows no kind of its own; group packages import it.
package column

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"nau/internal/api"
)

// Name is the first column of nearly every kind.
func Name() api.Column {
	return api.Column{Name: "Name", Type: "string", Format: "name",
		Description: metav1.ObjectMeta{}.SwaggerDoc()["name"],
		Value: func(o runtime.Object, _ time.Time) any {
			m, err := meta.Accessor(o)
			if err != nil {
				return ""
			}
			return m.GetName()
		}}
}

// Age is how long ago the object was created.
func Age() api.Column {
	return api.Column{Name: "Age", Type: "string",
		Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
		Value: func(o runtime.Object, now time.Time) any {
			m, err := meta.Accessor(o)
			if err != nil {
				return Unknown
			}
			return Since(m.GetCreationTimestamp(), now)
		}}
}

// CreatedAt is the creation time as such, for the kinds that upstream prints it for.
func CreatedAt() api.Column {
	return api.Column{Name: "Created At", Type: "date",
		Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
		Value: func(o runtime.Object, _ time.Time) any {
			m, err := meta.Accessor(o)
			if err != nil {
				return Unknown
			}
			return m.GetCreationTimestamp().UTC().Format(time.RFC3339)
		}}
}

// Text declares a column of strings.
func Text[T runtime.Object](name, description string, f func(T) string) api.Column {
	return api.Column{Name: name, Type: "string", Description: description,
		Value: func(o runtime.Object, _ time.Time) any { return f(o.(T)) }}
}

// Timed declares a column of strings that depend on the present time.
func Timed[T runtime.Object](name, description string, f func(T, time.Time) string) api.Column {
	return api.Column{Name: name, Type: "string", Description: description,
		Value: func(o runtime.Object, now time.Time) any { return f(o.(T), now) }}
}

// Number declares a column of integers.
func Number[T runtime.Object, N int | int32 | int64](name, description string, f func(T) N) api.Column {
	return api.Column{Name: name, Type: "integer", Description: description,
		Value: func(o runtime.Object, _ time.Time) any { return int64(f(o.(T))) }}
}

// Bool declares a column of truth values.
func Bool[T runtime.Object](name, description string, f func(T) bool) api.Column {
	return api.Column{Name: name, Type: "boolean", Description: description,
		Value: func(o runtime.Object, _ time.Time) any { return f(o.(T)) }}
}

// Wide moves columns to `kubectl get -o wide`.
func Wide(columns ...api.Column) []api.Column {
	for i := range columns {
		columns[i].Priority = 1
	}
	return columns
}

// The words for what is not known or not there.
const (
	Unknown = "<unknown>"
	None    = "<none>"
	Unset   = "<unset>"
)

// Since prints the time passed, "5m" or "2d3h".
func Since(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return Unknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// SinceMicro is Since for the finer clock.
func SinceMicro(t metav1.MicroTime, now time.Time) string {
	if t.IsZero() {
		return Unknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// Selector prints a label selector, <none> for a missing one.
func Selector(s *metav1.LabelSelector) string {
	if s == nil {
		return None
	}
	return OrNone(metav1.FormatLabelSelector(s))
}

// Labels prints a set of labels, <none> for an empty one.
func Labels(set map[string]string) string {
	if len(set) == 0 {
		return None
	}
	return labels.FormatLabels(set)
}

// OrNone prints <none> for the empty string.
func OrNone(s string) string {
	if s == "" {
		return None
	}
	return s
}

// Or prints the alternative for the empty string.
func Or(s, alternative string) string {
	if s == "" {
		return alternative
	}
	return s
}

// Join lists values with commas, <none> for no values.
func Join[T ~string](values []T) string {
	if len(values) == 0 {
		return None
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return strings.Join(out, ",")
}

// Some lists the first few values and counts the rest: "a,b + 3 more...".
func Some(values []string, most int) string {
	if len(values) <= most {
		return Join(values)
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(values[:most], ","), len(values)-most)
}

// Keys lists a map's keys in order.
func Keys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
