package admission

import (
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"nau/internal/apiserver/authz"
)

// Config is what the default chain needs.
type Config struct {
	// Informers is the factory of the server's own view of the cluster; the chain must be made before it starts.
	Informers informers.SharedInformerFactory
	// Live asks the server itself, as a member of system:masters.
	Live       kubernetes.Interface
	Authorizer authz.Authorizer
	Clock      clock.PassiveClock
	// ProtectStorage adds the finalizers of claims and volumes. It needs the protection controllers: without them nothing would
	// ever be deleted.
	ProtectStorage bool
	// After comes at the end of the chain, where webhooks and quota stand.
	After []Plugin
}

// Default is the chain of the plugins that upstream switches on, in upstream's order, and the limit of tenants' events.
func Default(c Config) (Chain, error) {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	accounts, err := NewServiceAccount(c.Informers, c.Live)
	if err != nil {
		return nil, err
	}
	security, err := NewPodSecurity(c.Informers, c.Live)
	if err != nil {
		return nil, err
	}
	chain := Chain{
		NewNamespaceLifecycle(c.Informers, c.Live, c.Clock),
		NewEventRateLimit(c.Clock),
		NewLimitRanger(c.Informers),
		accounts,
		NewNodeRestriction(c.Informers, c.Live, c.Authorizer),
		NewTaintNodesByCondition(),
		security,
		NewPriority(c.Informers, c.Live),
		NewDefaultTolerationSeconds(),
		NewDefaultStorageClass(c.Informers),
	}
	if c.ProtectStorage {
		chain = append(chain, NewStorageObjectInUseProtection())
	}
	chain = append(chain,
		NewPersistentVolumeClaimResize(c.Informers),
		NewRuntimeClass(c.Informers, c.Live),
		NewCertificates(c.Authorizer),
		NewDefaultIngressClass(c.Informers),
	)
	return append(chain, c.After...), nil
}
