package core

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/meta"
)

// validateEvent holds to the rules of the older shape where no eventTime is given, and to those of
// events.k8s.io where one is.
func validateEvent(e *corev1.Event) field.ErrorList {
	var errs field.ErrorList
	namespace := field.NewPath("involvedObject", "namespace")
	switch in := e.InvolvedObject.Namespace; {
	case in == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem:
		errs = append(errs, field.Invalid(namespace, in, "does not match event.namespace"))
	case in != "" && in != e.Namespace:
		errs = append(errs, field.Invalid(namespace, in, "does not match event.namespace"))
	}
	if e.EventTime.IsZero() {
		return errs
	}
	errs = append(errs, meta.Required(field.NewPath("reportingController"), e.ReportingController)...)
	if e.ReportingController != "" {
		errs = append(errs, meta.QualifiedName(field.NewPath("reportingController"), e.ReportingController)...)
	}
	for _, f := range []struct {
		name, value string
		most        int
	}{{"reportingInstance", e.ReportingInstance, 128}, {"action", e.Action, 128}, {"reason", e.Reason, 128}} {
		if f.value == "" {
			errs = append(errs, field.Required(field.NewPath(f.name), ""))
		}
		if len(f.value) > f.most {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %v characters", f.most)))
		}
	}
	if len(e.Message) > 1024 {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", "can have at most 1024 characters"))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", "has to be equal to Normal or Warning"))
	}
	if e.Series != nil && e.Series.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series", "count"), "", "should be at least 2"))
	}
	return errs
}

func validateEventUpdate(new, old *corev1.Event) field.ErrorList {
	errs := validateEvent(new)
	if old.EventTime.IsZero() {
		return errs
	}
	for _, f := range []struct {
		name     string
		new, old any
	}{
		{"involvedObject", new.InvolvedObject, old.InvolvedObject}, {"reason", new.Reason, old.Reason}, {"message", new.Message, old.Message},
		{"type", new.Type, old.Type}, {"action", new.Action, old.Action}, {"related", new.Related, old.Related},
		{"reportingController", new.ReportingController, old.ReportingController}, {"reportingInstance", new.ReportingInstance, old.ReportingInstance},
	} {
		errs = append(errs, meta.Immutable(field.NewPath(f.name), f.new, f.old)...)
	}
	return errs
}

func eventColumns() []api.Column {
	doc := corev1.Event{}.SwaggerDoc()
	columns := []api.Column{
		column.Timed("Last Seen", doc["lastTimestamp"], eventLastSeen),
		column.Text("Type", doc["type"], func(e *corev1.Event) string { return e.Type }),
		column.Text("Reason", doc["reason"], func(e *corev1.Event) string { return e.Reason }),
		column.Text("Object", doc["involvedObject"], func(e *corev1.Event) string {
			if e.InvolvedObject.Name == "" {
				return strings.ToLower(e.InvolvedObject.Kind)
			}
			return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
		}),
		column.Text("Subobject", corev1.ObjectReference{}.SwaggerDoc()["fieldPath"], func(e *corev1.Event) string { return e.InvolvedObject.FieldPath }),
		column.Text("Source", doc["source"], eventSource),
		column.Text("Message", doc["message"], func(e *corev1.Event) string { return e.Message }),
		column.Timed("First Seen", doc["firstTimestamp"], func(e *corev1.Event, now time.Time) string {
			if e.FirstTimestamp.IsZero() {
				return column.SinceMicro(e.EventTime, now)
			}
			return column.Since(e.FirstTimestamp, now)
		}),
		column.Text("Count", doc["count"], func(e *corev1.Event) string { return fmt.Sprint(eventCount(e)) }),
		column.Name(),
	}
	for _, i := range []int{4, 5, 7, 8, 9} {
		columns[i].Priority = 1
	}
	return columns
}

func eventLastSeen(e *corev1.Event, now time.Time) string {
	switch {
	case e.Series != nil:
		return column.SinceMicro(e.Series.LastObservedTime, now)
	case e.LastTimestamp.IsZero():
		return column.SinceMicro(e.EventTime, now)
	}
	return column.Since(e.LastTimestamp, now)
}

func eventCount(e *corev1.Event) int32 {
	switch {
	case e.Series != nil:
		return e.Series.Count
	case e.Count == 0:
		return 1
	}
	return e.Count
}

func eventSource(e *corev1.Event) string {
	component, host := e.Source.Component, e.Source.Host
	if component == "" {
		component = e.ReportingController
	}
	if host == "" {
		host = e.ReportingInstance
	}
	if host == "" {
		return component
	}
	return component + ", " + host
}

func eventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

// eventAliases are the field labels of events.k8s.io for the same facts.
func eventAliases() map[string]string {
	out := map[string]string{"reportingController": "reportingComponent"}
	for _, part := range []string{"kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"} {
		out["regarding."+part] = "involvedObject." + part
	}
	return out
}
