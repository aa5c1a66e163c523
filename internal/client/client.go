// Package client is how every component sees the API: client-go's clientsets and
// shared informers, in one [Set].
//
// In the server's process ([InProcess]) a request is a function call and the
// informers hand out the watch cache's own objects, which are read-only by
// contract ([Detector] holds tests to it). On other machines ([Remote]) the same
// Set speaks HTTPS and protobuf. A component cannot tell the difference: it takes
// a kubernetes.Interface and a factory, and client-go's fakes serve its tests.
//
// The package knows neither apiserver nor store; anybody may import it.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Source gives list and watch access to a resource without HTTP. The objects are
// shared with every reader in the process and must not be changed.
type Source interface {
	ListerWatcher(gvr schema.GroupVersionResource) cache.ListerWatcher
}

// WithUser puts the identity that a component acts as into a request's context,
// where the server's authentication finds it. It is an argument because the
// server's identities are not known here.
type WithUser func(context.Context) context.Context

// Set is one identity's view of the API.
type Set struct {
	Kubernetes kubernetes.Interface
	Dynamic    dynamic.Interface
	// Metadata reads and patches any object's metadata.
	Metadata  metadata.Interface
	Discovery discovery.DiscoveryInterface
	// Informers are made when a component asks for them; whoever assembles the
	// process starts the factory.
	Informers informers.SharedInformerFactory
	// Config makes further clients of the same identity.
	Config *rest.Config

	source Source // nil when remote
}

const (
	protobuf = runtime.ContentTypeProtobuf
	json     = runtime.ContentTypeJSON
)

// InProcess makes a set whose requests are calls of handler, as the user that
// withUser puts into their context. src may be nil: then informers list and watch
// through handler, too.
func InProcess(handler http.Handler, withUser WithUser, src Source) (*Set, error) {
	if handler == nil || withUser == nil {
		return nil, errors.New("make in-process client: handler and user are needed")
	}
	s, err := newSet(&rest.Config{
		Host:      "http://in-process",
		Transport: &transport{handler, withUser},
		QPS:       -1, // the server's own components are not throttled
		// They know what they use.
		WarningHandlerWithContext: rest.NoWarnings{},
	})
	if err != nil {
		return nil, err
	}
	if src != nil {
		s.source = src
		s.Informers = newFactory(s.Informers, src)
	}
	return s, nil
}

// Remote makes a set of a client configuration. Where it sets no limits, none
// apply: the server has flow control of its own.
func Remote(cfg *rest.Config) (*Set, error) {
	c := rest.CopyConfig(cfg)
	if c.QPS == 0 && c.RateLimiter == nil {
		c.QPS = -1
	}
	return newSet(c)
}

func newSet(cfg *rest.Config) (*Set, error) {
	typed := rest.CopyConfig(cfg)
	if typed.ContentType == "" {
		typed.ContentType = protobuf
		typed.AcceptContentTypes = protobuf + "," + json
	}
	s := &Set{Config: cfg}
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client for %s: %w", cfg.Host, err)
	}
	kube, err := kubernetes.NewForConfigAndClient(typed, hc)
	if err != nil {
		return nil, fmt.Errorf("make client for %s: %w", cfg.Host, err)
	}
	if s.Dynamic, err = dynamic.NewForConfigAndClient(cfg, hc); err != nil {
		return nil, fmt.Errorf("make dynamic client for %s: %w", cfg.Host, err)
	}
	if s.Metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), hc); err != nil {
		return nil, fmt.Errorf("make metadata client for %s: %w", cfg.Host, err)
	}
	s.Kubernetes, s.Discovery = kube, kube.Discovery()
	s.Informers = informers.NewSharedInformerFactory(kube, 0)
	return s, nil
}

// ListerWatcher lists and watches any resource, built in or custom, as objects
// with metadata (whole ones in process, metadata only from afar).
func (s *Set) ListerWatcher(gvr schema.GroupVersionResource) cache.ListerWatcher {
	if s.source != nil {
		return s.source.ListerWatcher(gvr)
	}
	return metadataListerWatcher(s.Metadata, gvr)
}
