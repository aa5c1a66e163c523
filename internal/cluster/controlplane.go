package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"nau/internal/api/builtin"
	"nau/internal/apiserver"
	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/admission/policy"
	"nau/internal/apiserver/admission/webhook"
	"nau/internal/apiserver/authn"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/hook"
	"nau/internal/apiserver/identity"
	"nau/internal/apiserver/rbac"
	"nau/internal/client"
	"nau/internal/client/events"
	"nau/internal/cluster/host"
	"nau/internal/cluster/pki"
	"nau/internal/cluster/version"
	"nau/internal/store"
	"nau/internal/store/seal"
)

// controlPlane is the store and the API server over it, with the client through
// which all other rooms see them.
type controlPlane struct {
	config *Config
	log    *slog.Logger
	keys   *pki.PKI
	store  *store.Store
	server *apiserver.Server
	https  *http.Server
	// admin is the client of the server's own work: bootstrap objects, the
	// caches behind authentication, authorization and admission. Its informers
	// are the ones that everybody in this process shares.
	admin  *client.Set
	events *events.Writer // of all components
	handle atomic.Pointer[http.Handler]
	roles  *authz.RBAC
	synced []cache.InformerSynced
}

// openStore opens etcd, embedded or by its endpoints.
func openStore(ctx context.Context, c *Config) (*store.Store, error) {
	sc := store.Config{Dir: filepath.Join(c.DataDir, "etcd"), Endpoints: c.EtcdEndpoints, Log: c.Log, Spare: func() {
		if err := host.Settle(); err != nil {
			c.Log.Warn("settle down", "error", err)
		}
	}}
	if c.EtcdCA != "" || c.EtcdCert != "" {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.EtcdCA != "" {
			text, err := os.ReadFile(c.EtcdCA)
			if err != nil {
				return nil, usage("--etcd-cafile: %v", err)
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(text) {
				return nil, usage("--etcd-cafile %s holds no certificate", c.EtcdCA)
			}
		}
		if c.EtcdCert != "" {
			pair, err := tls.LoadX509KeyPair(c.EtcdCert, c.EtcdKey)
			if err != nil {
				return nil, usage("--etcd-certfile, --etcd-keyfile: %v", err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		sc.TLS = config
	}
	return store.Open(ctx, sc)
}

// newControlPlane assembles the API server; nothing runs yet.
func newControlPlane(c *Config, keys *pki.PKI, opened *store.Store) (*controlPlane, error) {
	p := &controlPlane{config: c, log: c.Log, keys: keys, store: opened, events: events.New(clock.RealClock{}, c.Log)}
	var sealing []seal.Key
	for _, k := range keys.Encryption {
		sealing = append(sealing, seal.Key{Name: k.Name, Secret: k.Secret[:]})
	}
	transformer, err := seal.New(sealing...)
	if err != nil {
		return nil, err
	}
	if p.admin, err = p.clientFor(identity.User{Name: identity.APIServer, Groups: []string{identity.Masters, identity.Authenticated}}); err != nil {
		return nil, err
	}
	informers, kube := p.admin.Informers, p.admin.Kubernetes

	authentication := authn.New(authn.Config{
		ClientRoots:     keys.Cluster.Pool(),
		FrontProxyRoots: keys.FrontProxy.Pool(), FrontProxyNames: []string{"front-proxy-client"},
		Issuers: []string{p.issuer()}, Keys: keys.ServiceAccounts,
		Objects:   authn.ObjectsFrom(informers, kube),
		Anonymous: true,
	})
	p.roles = authz.NewRBAC()
	rolesSynced, err := p.roles.Follow(informers)
	if err != nil {
		return nil, err
	}
	seed(p.roles, rbac.Default())
	references := authz.NewReferences()
	referencesSynced, err := references.Follow(informers)
	if err != nil {
		return nil, err
	}
	nodes := authz.NewNode(references)
	nodes.Patience = time.Second
	authorizer := authz.Union{authz.Masters{}, nodes, p.roles}
	p.synced = append(p.synced, rolesSynced, referencesSynced)

	callers := hook.New(informers.Core().V1().Services().Lister())
	asked := webhook.Config{Informers: informers, Live: kube, Authorizer: authorizer, Caller: callers, Log: c.Log}
	mutating, err := webhook.NewMutating(asked)
	if err != nil {
		return nil, err
	}
	validating, err := webhook.NewValidating(asked)
	if err != nil {
		return nil, err
	}
	policies := policy.Config{Informers: informers, Live: kube, Params: p.admin.Dynamic, Authorizer: authorizer, Log: c.Log}
	changes, err := policy.NewMutating(policies)
	if err != nil {
		return nil, err
	}
	judges, err := policy.NewValidating(policies)
	if err != nil {
		return nil, err
	}
	chain, err := admission.Default(admission.Config{
		Informers: informers, Live: kube, Authorizer: authorizer,
		After: []admission.Plugin{rbac.NewGuard(p.roles, authorizer), changes, mutating, judges, validating,
			admission.NewResourceQuota(informers, kube, clock.RealClock{})},
	})
	if err != nil {
		return nil, err
	}

	p.server, err = apiserver.New(apiserver.Config{
		Table:        builtin.Table(),
		Store:        opened,
		Transformers: map[schema.GroupResource]store.Transformer{{Resource: "secrets"}: transformer},
		Authn:        authentication, Authz: authorizer, Admission: chain,
		Nodes:        newNodeDialer(p),
		Webhooks:     callers,
		Tokens:       authentication.ServiceAccounts,
		Virtual:      reviewers(authentication, authorizer),
		Paths:        p.documents(authentication.ServiceAccounts),
		ServiceCIDRs: c.ServiceCIDRs,
		NodePorts:    [2]uint16{uint16(c.ServiceNodePortFirst), uint16(c.NodePortEnd)},
		Version: apiversion.Info{
			Major: version.KubernetesMajor, Minor: version.KubernetesMinor, GitVersion: version.GitVersion(),
			GitTreeState: "clean", GoVersion: goruntime.Version(), Compiler: goruntime.Compiler, Platform: version.Platform(),
		},
		Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	handler := p.server.Handler()
	p.handle.Store(&handler)
	return p, nil
}

// seed lets the default roles count before the store has been read or, at the
// first start, written: components need not wait for either.
func seed(roles *authz.RBAC, policy *rbac.Policy) {
	for _, r := range policy.ClusterRoles {
		roles.Set(r)
	}
	for _, b := range policy.ClusterRoleBindings {
		roles.Set(b)
	}
	for _, r := range policy.Roles {
		roles.Set(r)
	}
	for _, b := range policy.RoleBindings {
		roles.Set(b)
	}
}

// documents are the API's further paths: how to verify its tokens, and profiles
// of this process, which upstream serves to whom RBAC lets see them, too.
func (p *controlPlane) documents(accounts *authn.ServiceAccounts) map[string]http.Handler {
	paths := issuerPaths(accounts, p.issuer())
	for _, profile := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		paths["/debug/pprof/"+profile] = pprof.Handler(profile)
	}
	paths["/debug/pprof/profile"] = http.HandlerFunc(pprof.Profile)
	paths["/debug/pprof/trace"] = http.HandlerFunc(pprof.Trace)
	return paths
}

func (p *controlPlane) issuer() string {
	return "https://kubernetes.default.svc." + p.config.ClusterDomain
}

// ServeHTTP is the API for clients in this process: they are made before the
// server, since it reads the cluster through one of them itself.
func (p *controlPlane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handler := p.handle.Load(); handler != nil {
		(*handler).ServeHTTP(w, r)
		return
	}
	http.Error(w, "the API server is starting", http.StatusServiceUnavailable)
}

// ListerWatcher hands out the watch cache's own objects. It may be asked for
// before there is a server; it lists when the informers are started.
func (p *controlPlane) ListerWatcher(gvr schema.GroupVersionResource) cache.ListerWatcher {
	source := sync.OnceValue(func() cache.ListerWatcherWithContext {
		return cache.ToListerWatcherWithContext(p.server.Source().ListerWatcher(gvr))
	})
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return source().ListWithContext(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return source().WatchWithContext(ctx, o)
		},
	}
}

// clientFor makes a client in this process that acts as the user.
func (p *controlPlane) clientFor(u identity.User) (*client.Set, error) {
	return client.InProcess(p, func(ctx context.Context) context.Context { return identity.WithUser(ctx, &u) }, p)
}

// controllerClient acts as a controller's service account, which may do what the
// default role system:controller:NAME grants and nothing else.
func (p *controlPlane) controllerClient(name string) (*client.Set, error) {
	return p.clientFor(identity.User{
		Name:   identity.ServiceAccount("kube-system", name),
		Groups: append(identity.ServiceAccountGroups("kube-system"), identity.Authenticated),
	})
}

// serve answers on the listener until stop.
func (p *controlPlane) serve(listener net.Listener) error {
	c := p.config
	names := []string{c.NodeName}
	for _, ip := range c.NodeIPs {
		names = append(names, ip.String())
	}
	for _, s := range c.ServiceCIDRs {
		names = append(names, nth(s, 1).String())
	}
	certificate, err := p.keys.Cluster.Rotate(pki.APIServer(c.ClusterDomain, names...), clock.RealClock{})
	if err != nil {
		return err
	}
	p.https = &http.Server{
		Handler:   p.server.Handler(),
		TLSConfig: pki.ServerTLS(certificate),
		ErrorLog:  slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	apiserver.Tune(p.https)
	go func() {
		if err := p.https.ServeTLS(listener, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("serve the API", "error", err)
		}
	}()
	return nil
}

// writeKubeconfig writes the admin's kubeconfig where it is missing or old, and
// tells when to do it again.
func (p *controlPlane) writeKubeconfig(now time.Time) (time.Time, error) {
	address := "127.0.0.1"
	if b := p.config.BindAddress; b != "" && !net.ParseIP(b).IsUnspecified() {
		address = b
	}
	return pki.Kubeconfig{
		Path: p.config.KubeconfigPath(), Name: p.config.Name(),
		Server:  "https://" + net.JoinHostPort(address, strconv.Itoa(p.config.APIPort)),
		Subject: pki.Admin("admin"),
	}.Refresh(p.keys.Cluster, now)
}

// bootstrapRoles writes the default roles.
func (p *controlPlane) bootstrapRoles(ctx context.Context) error {
	if err := rbac.Reconcile(ctx, p.admin.Kubernetes, rbac.Default()); err != nil {
		return fmt.Errorf("write default roles: %w", err)
	}
	return nil
}

func (p *controlPlane) close() {
	p.events.Close()
	if p.https != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		p.server.Drain()
		if p.https.Shutdown(ctx) != nil {
			p.https.Close()
		}
		cancel()
	}
	if err := p.store.Close(); err != nil {
		p.log.Error("close store", "error", err)
	}
}

// listen takes a port before anything else is done, so that a busy one costs
// nothing but a line.
func listen(flag, address string, port int) (net.Listener, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, usage("%s %d: %v; choose another port, or see who has it with `ss -ltnp`", flag, port, errors.Unwrap(err))
	}
	return listener, nil
}
