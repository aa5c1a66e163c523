package builtin_test

import (
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"nau/internal/api/builtin"
)

// notServed are GA types that are no resources of their own: bodies, options and relics.
var notServed = map[string]string{
	"Eviction":                 "body of pods/eviction",
	"Scale":                    "body of scale",
	"TokenRequest":             "body of serviceaccounts/token",
	"NodeProxyOptions":         "options",
	"PodAttachOptions":         "options",
	"PodExecOptions":           "options",
	"PodLogOptions":            "options",
	"PodPortForwardOptions":    "options",
	"PodProxyOptions":          "options",
	"ServiceProxyOptions":      "options",
	"PodStatusResult":          "never served by upstream either",
	"RangeAllocation":          "internal to upstream's allocators",
	"SerializedReference":      "an annotation's value",
	"AdmissionReview":          "spoken to webhooks",
	"ImageReview":              "spoken to webhooks",
	"APIGroupDiscovery":        "discovery document",
	"DeviceTaintRule":          "not GA",
	"CreateOptions":            "options",
	"DeleteOptions":            "options",
	"GetOptions":               "options",
	"ListOptions":              "options",
	"PatchOptions":             "options",
	"UpdateOptions":            "options",
	"WatchEvent":               "envelope",
	"Status":                   "envelope",
	"APIGroup":                 "discovery document",
	"APIVersions":              "discovery document",
	"APIResourceList":          "discovery document",
	"List":                     "envelope",
	"PartialObjectMetadata":    "envelope",
	"Table":                    "envelope",
	"TableOptions":             "options",
	"ExternalMetricValue":      "metrics",
	"InternalEvent":            "envelope",
	"PodMetrics":               "metrics",
	"NodeMetrics":              "metrics",
	"APIGroupList":             "discovery document",
	"PartialObjectMetadataRef": "envelope",
}

func TestEveryGAKindIsInTheTable(t *testing.T) {
	x := builtin.Index()
	for gvk := range clientscheme.Scheme.AllKnownTypes() {
		if gvk.Version != "v1" && gvk.Version != "v2" || strings.HasSuffix(gvk.Kind, "List") {
			continue
		}
		if _, excused := notServed[gvk.Kind]; excused {
			continue
		}
		if _, ok := x.Kind(gvk); !ok {
			t.Errorf("%s is GA and not in the table", gvk)
		}
	}
}

func TestDeclarationsAreWhole(t *testing.T) {
	prefixes := map[string]string{}
	for _, r := range builtin.Table() {
		id := r.Group + "/" + r.Kind
		if r.Singular != strings.ToLower(r.Kind) {
			t.Errorf("%s: singular %q", id, r.Singular)
		}
		if r.StorageVersion() == nil {
			t.Errorf("%s: storage version %q is not declared", id, r.Storage)
		}
		for i := range r.Versions {
			v := &r.Versions[i]
			if got := reflect.TypeOf(v.New()).Elem().Name(); got != r.Kind {
				t.Errorf("%s %s: New makes a %s", id, v.Name, got)
			}
			if (v.ToStorage == nil) != (v.FromStorage == nil) {
				t.Errorf("%s %s: conversion goes one way only", id, v.Name)
			}
			if r.Has("list") {
				if got := reflect.TypeOf(v.NewList()).Elem().Name(); got != r.Kind+"List" {
					t.Errorf("%s %s: NewList makes a %s", id, v.Name, got)
				}
			}
		}
		if r.Virtual {
			if r.Prefix != "" {
				t.Errorf("%s: virtual with prefix %q", id, r.Prefix)
			}
			continue
		}
		if taken, dup := prefixes[r.Prefix]; dup || r.Prefix == "" {
			t.Errorf("%s: prefix %q is taken by %q", id, r.Prefix, taken)
		}
		prefixes[r.Prefix] = id
		if r.Strategy.Name == nil {
			t.Errorf("%s: no rule for names", id)
		}
	}
}

func TestGroupsComeInUpstreamsOrder(t *testing.T) {
	var got []string
	for _, g := range builtin.Index().Groups() {
		got = append(got, g.Name)
	}
	want := []string{"", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
		"autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
		"admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
		"discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("groups\n got %q\nwant %q", got, want)
	}
}

func TestEventsAreServedInTwoGroups(t *testing.T) {
	x := builtin.Index()
	a, ok1 := x.Resource(schema.GroupVersionResource{Version: "v1", Resource: "events"})
	b, ok2 := x.Resource(schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"})
	if !ok1 || !ok2 || a.Resource != b.Resource {
		t.Fatalf("events: core %v, events.k8s.io %v, same storage %v", ok1, ok2, a.Resource == b.Resource)
	}
}
