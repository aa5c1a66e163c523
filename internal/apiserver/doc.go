// Package apiserver is the Kubernetes API: HTTP in, store out.
//
// A request goes through one ordered list of stages (pipeline.go), is found in the registry of served resources
// (registry.go), and is answered by the handler of its verb (get.go, list.go, watch.go, create.go, update.go, patch.go,
// apply.go, delete.go) or subresource. Handlers know no kinds: all that differs between kinds is in the resource table of
// internal/api. Answers are assembled from encodings that the watch cache keeps with each object.
//
// It is not a controller and has no background work but the store's. Only cluster imports it.
package apiserver
