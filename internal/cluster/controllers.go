package cluster

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/record"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/apiserver/rbac"
	"nau/internal/client"
	"nau/internal/controller/deployment"
	"nau/internal/controller/disruption"
	"nau/internal/controller/endpoints"
	"nau/internal/controller/endpointslice"
	"nau/internal/controller/endpointslicemirroring"
	"nau/internal/controller/garbagecollector"
	"nau/internal/controller/namespace"
	"nau/internal/controller/nodelifecycle"
	"nau/internal/controller/podgc"
	"nau/internal/controller/replicaset"
	"nau/internal/controller/replicationcontroller"
	"nau/internal/controller/resourcequota"
	"nau/internal/controller/rootca"
	"nau/internal/controller/serviceaccount"
)

// source is the name under which a controller records events: its account's, but
// for those whose events upstream's clients know by another.
func source(account string) string {
	switch account {
	case "disruption-controller":
		return "controllermanager"
	case "endpointslice-controller":
		return "endpoint-slice-controller"
	case "generic-garbage-collector":
		return "garbage-collector-controller"
	}
	return account
}

// runner is what every controller is.
type runner interface {
	Run(context.Context) error
}

// controllers makes every controller. Each acts as a service account of its own,
// named as upstream's, whose role says what it may do; all share the informers.
func controllers(p *controlPlane) ([]component, error) {
	informers, log := p.admin.Informers, p.log
	list := []struct {
		account string
		make    func(*client.Set, record.EventRecorder) (runner, error)
	}{
		{"namespace-controller", func(c *client.Set, _ record.EventRecorder) (runner, error) {
			return namespace.New(namespace.Config{Client: c.Kubernetes, Metadata: c.Metadata, Informers: informers, Log: log})
		}},
		{"service-account-controller", func(c *client.Set, _ record.EventRecorder) (runner, error) {
			return serviceaccount.New(serviceaccount.Config{Client: c.Kubernetes, Informers: informers, Log: log})
		}},
		{"root-ca-cert-publisher", func(c *client.Set, _ record.EventRecorder) (runner, error) {
			return rootca.New(rootca.Config{Client: c.Kubernetes, Informers: informers, Bundle: p.keys.Cluster.Bundle, Log: log})
		}},
		{"pod-garbage-collector", func(c *client.Set, _ record.EventRecorder) (runner, error) {
			return podgc.New(podgc.Config{Client: c.Kubernetes, Informers: informers, Log: log})
		}},
		{"node-controller", func(c *client.Set, r record.EventRecorder) (runner, error) {
			return nodelifecycle.New(nodelifecycle.Config{Client: c.Kubernetes, Informers: informers, Recorder: r, Log: log})
		}},
		{"replicaset-controller", func(c *client.Set, r record.EventRecorder) (runner, error) {
			return replicaset.New(replicaset.Config{Client: c.Kubernetes, Informers: informers, Recorder: r, Log: log})
		}},
		{"replication-controller", func(c *client.Set, r record.EventRecorder) (runner, error) {
			return replicationcontroller.New(replicaset.Config{Client: c.Kubernetes, Informers: informers, Recorder: r, Log: log})
		}},
		{"deployment-controller", func(c *client.Set, r record.EventRecorder) (runner, error) {
			return deployment.New(deployment.Config{Client: c.Kubernetes, Informers: informers, Recorder: r, Log: log})
		}},
		{"endpointslice-controller", func(c *client.Set, r record.EventRecorder) (runner, error) {
			return endpointslice.New(endpointslice.Config{Client: c.Kubernetes, Informers: informers, Recorder: r, Log: log})
		}},
		{"endpoint-controller", func(c *client.Set, r record.EventRecorder) (runner, error) {
			return endpoints.New(endpoints.Config{Client: c.Kubernetes, Informers: informers, Recorder: r, Log: log})
		}},
		{"endpointslicemirroring-controller", func(c *client.Set, _ record.EventRecorder) (runner, error) {
			return endpointslicemirroring.New(endpointslicemirroring.Config{Client: c.Kubernetes, Informers: informers, Log: log})
		}},
		{"disruption-controller", func(c *client.Set, r record.EventRecorder) (runner, error) {
			return disruption.New(disruption.Config{Client: c.Kubernetes, Informers: informers, Recorder: r, Log: log})
		}},
		{"generic-garbage-collector", func(c *client.Set, r record.EventRecorder) (runner, error) {
			return garbagecollector.New(garbagecollector.Config{Metadata: c.Metadata, Discovery: c.Discovery, ListerWatcher: p.ListerWatcher, Recorder: r, Log: log})
		}},
		{"resourcequota-controller", func(c *client.Set, _ record.EventRecorder) (runner, error) {
			return resourcequota.New(resourcequota.Config{Client: c.Kubernetes, Discovery: c.Discovery, ListerWatcher: p.ListerWatcher, Informers: informers, Log: log})
		}},
		{"clusterrole-aggregation-controller", func(c *client.Set, _ record.EventRecorder) (runner, error) {
			return rbac.NewAggregation(c.Kubernetes, informers)
		}},
	}
	var out []component
	for _, entry := range list {
		as, err := p.controllerClient(entry.account)
		if err != nil {
			return nil, err
		}
		recorder, stop := p.recorder(as, corev1.EventSource{Component: source(entry.account)})
		controller, err := entry.make(as, recorder)
		if err != nil {
			stop()
			return nil, fmt.Errorf("make %s: %w", entry.account, err)
		}
		out = append(out, component{entry.account, func(ctx context.Context) error {
			defer stop()
			return controller.Run(ctx)
		}})
	}
	return out, nil
}
