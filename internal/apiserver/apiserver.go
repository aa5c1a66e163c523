package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"nau/internal/api"
	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/authn"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/hook"
	"nau/internal/store"
)

// Config is all that a Server is made of.
type Config struct {
	Table []*api.Resource
	Store *store.Store
	// Transformers seal resources at rest, by resource ("secrets").
	Transformers map[schema.GroupResource]store.Transformer

	// Authn tells who sends a request that came over the network; nil lets only in-process requests in.
	Authn authn.Authenticator
	// Authz decides; nil allows everything (tests).
	Authz     authz.Authorizer
	Admission admission.Chain

	// Nodes reaches the node agents; nil answers 503 to log, exec and their like.
	Nodes NodeDialer
	// Tokens signs service account tokens; nil answers 404 to serviceaccounts/token.
	Tokens TokenIssuer
	// Virtual answers resources that are computed: the access and token reviews.
	Virtual map[schema.GroupResource]Reviewer

	// Webhooks calls the conversion webhooks of custom resources; nil has conversions by webhook fail.
	Webhooks *hook.Caller

	// ServiceCIDRs are the ranges of cluster addresses, the preferred family first; none turns allocation off.
	ServiceCIDRs []netip.Prefix
	// NodePorts is the range of node ports, first and last; zero means 30000–32767.
	NodePorts [2]uint16

	// Paths are further documents, by exact path (the OpenID configuration of the token issuer).
	Paths map[string]http.Handler

	Version version.Info
	// Ready are the checks of /readyz beside the server's own, by name.
	Ready map[string]func() error

	// MaxBody bounds a request's body; 0 means 3 MiB.
	MaxBody int64
	// MaxInFlight and MaxMutatingInFlight bound concurrent short requests; 0 means 400 and 200.
	MaxInFlight, MaxMutatingInFlight int
	// RequestTimeout bounds short requests; 0 means a minute.
	RequestTimeout time.Duration
	// MinWatch is the least time after which the server ends a watch; it ends up to twice that. 0 means 30 minutes.
	MinWatch time.Duration
	// Audit hears of every request that was answered; may be nil.
	Audit func(AuditEvent)

	Clock func() time.Time
	Log   *slog.Logger
}

// Server is the API server. It serves as soon as it is made; caches and documents are built at first use.
type Server struct {
	Config
	registry  *registry
	admission admission.Chain
	maxBody   int64
	minWatch  time.Duration
	clock     func() time.Time
	log       *slog.Logger
	stages    []stage
	metrics   *metrics
	reads     *gate // requests in flight
	writes    *gate
	long      *tally // requests that last
	stalled   time.Duration
	health    health
	services  *services
	life      context.Context // ends with Drain
	end       context.CancelFunc
}

// New makes a server over a resource table and a store.
func New(cfg Config) (*Server, error) {
	s := &Server{Config: cfg, admission: cfg.Admission, maxBody: cfg.MaxBody, minWatch: cfg.MinWatch, clock: cfg.Clock, log: cfg.Log}
	if s.maxBody == 0 {
		s.maxBody = 3 << 20
	}
	if s.minWatch == 0 {
		s.minWatch = 30 * time.Minute
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.RequestTimeout == 0 {
		s.RequestTimeout = time.Minute
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.reads, s.writes = newGate(cmp.Or(cfg.MaxInFlight, defaultReads)), newGate(cmp.Or(cfg.MaxMutatingInFlight, defaultWrites))
	s.long, s.stalled = newTally(longRunningMost), stalledFor
	s.metrics = newMetrics()
	s.health.extra = cfg.Ready
	if cfg.Store != nil {
		s.health.healthy = cfg.Store.Healthy
	}
	s.stages = s.pipeline()
	s.registry = newRegistry(s.open, s.Store.Drop)
	if err := s.registry.add(cfg.Table...); err != nil {
		return nil, fmt.Errorf("build resource registry: %w", err)
	}
	if len(cfg.ServiceCIDRs) > 0 {
		if err := s.allocateServices(); err != nil {
			return nil, err
		}
	}
	s.follow()
	return s, nil
}

// open opens the collection of a kind.
func (s *Server) open(k *kind) *store.Collection {
	return s.Store.Collection(store.CollectionConfig{
		Prefix: k.prefix(), Codec: k, Transformer: s.Transformers[k.gr], Index: k.index(),
	})
}

// Handler is the API as an http.Handler. A request whose context carries a user (identity.WithUser) is taken as that user's;
// no request from the network can carry one.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }
