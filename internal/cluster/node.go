package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/utils/clock"

	"nau/internal/apiserver/identity"
	"nau/internal/cluster/pki"
	"nau/internal/cluster/version"
	"nau/internal/cri"
	"nau/internal/dns"
	"nau/internal/engine"
	"nau/internal/engine/image"
	"nau/internal/engine/subid"
	"nau/internal/kernel/idmap"
	"nau/internal/nodeagent"
	"nau/internal/proxy"
	"nau/internal/proxy/nft"
	"nau/internal/registry"
)

// node is this machine as a node: the engine or another CRI runtime, the agent,
// the service proxy and the DNS.
type node struct {
	config   *Config
	engine   *engine.Engine // nil with a foreign runtime
	cri      *cri.Server    // nil with a foreign runtime
	runtime  runtimeapi.RuntimeServiceClient
	images   runtimeapi.ImageServiceClient
	closers  []func() error
	started  time.Time
	streamer streaming.Runtime
}

// openNode opens the runtime.
func openNode(ctx context.Context, c *Config) (*node, error) {
	n := &node{config: c, started: time.Now()}
	if c.CRIEndpoint != "" {
		if err := n.dialRuntime(ctx); err != nil {
			return nil, err
		}
		return n, nil
	}
	opened, err := openEngine(ctx, c)
	if err != nil {
		return nil, err
	}
	n.engine = opened
	n.closers = append(n.closers, opened.Close)
	for _, serve := range []func() error{n.serveCRI, n.serveRegistry, n.serveDocker} {
		if err := serve(); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	return n, nil
}

// serveCRI puts Nau's engine behind its CRI socket, and behind function calls
// for the agent in this process.
func (n *node) serveCRI() error {
	n.cri = cri.New(n.engine, cri.Config{Version: version.Nau(), Log: n.config.Log})
	n.runtime, n.images = n.cri.InProcess()
	n.streamer = n.cri.Streamer()
	path := filepath.Join(n.config.RunDir, "cri.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace CRI socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for CRI: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("guard CRI socket: %w", err)
	}
	go func() {
		if err := n.cri.Serve(listener); err != nil {
			n.config.Log.Error("serve CRI", "error", err)
		}
	}()
	n.closers = append(n.closers, func() error { n.cri.Close(); return nil })
	return nil
}

// serveRegistry answers on loopback with a registry over the engine's content.
func (n *node) serveRegistry() error {
	c := n.config
	if c.RegistryPort == 0 {
		return nil
	}
	handler, err := registry.New(registry.Config{Content: n.engine.Content, Deletes: true, Log: c.Log})
	if err != nil {
		return fmt.Errorf("open registry: %w", err)
	}
	listener, err := listen("--registry-port", "127.0.0.1", c.RegistryPort)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug)}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			c.Log.Error("serve registry", "error", err)
		}
	}()
	ctx, stop := context.WithCancel(context.Background())
	go handler.CollectEvery(ctx, registryCollection)
	n.closers = append(n.closers, func() error { stop(); return server.Close() })
	return nil
}

// registryCollection is how often blobs that nobody pushed a manifest for are freed.
const registryCollection = 6 * time.Hour

// dialRuntime connects to a foreign CRI runtime.
func (n *node) dialRuntime(ctx context.Context) error {
	conn, err := grpc.NewClient(n.config.CRIEndpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		return usage("--container-runtime-endpoint %s: %v", n.config.CRIEndpoint, err)
	}
	n.runtime, n.images = runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := n.runtime.Version(ctx, &runtimeapi.VersionRequest{}); err != nil {
		conn.Close()
		return usage("--container-runtime-endpoint %s does not answer: %v", n.config.CRIEndpoint, err)
	}
	n.closers = append(n.closers, conn.Close)
	return nil
}

// openEngine opens Nau's own engine.
func openEngine(ctx context.Context, c *Config) (*engine.Engine, error) {
	binary, err := placeRuntime(c)
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(ctx, engine.Config{
		DataDir: c.DataDir, RunDir: c.RunDir, NauOCI: binary,
		Instance: c.Name(), Bridge: c.bridge(), CgroupParent: c.CgroupRoot,
		PodCIDRs: c.nodePodCIDRs(), ClusterCIDRs: c.PodCIDRs, ServiceCIDRs: c.ServiceCIDRs, Own: c.dnsPorts(),
		Registries: image.Registries{Insecure: c.InsecureRegistries, Mirrors: c.RegistryMirrors},
		Runtimes:   c.Runtimes, Runtime: c.DefaultRuntime, CDIDirs: c.CDIDirs, Remap: c.Remap, Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("open engine: %w", err)
	}
	return e, nil
}

// reservedIDs are what Docker's containers and the machine's own users have of the host's ids: no pod is given them.
func reservedIDs(c *Config) []idmap.Range {
	out := subid.System.All()
	for _, m := range slices.Concat(c.Remap.UIDs, c.Remap.GIDs) {
		out = append(out, idmap.Range{First: m.HostID, Size: m.Size})
	}
	return out
}

// placeRuntime puts nau-oci into the run directory, where it is missing or of
// another build. A monitor that runs from the old file keeps it.
func placeRuntime(c *Config) (string, error) {
	data, err := c.Runtime()
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.RunDir, "nau-oci")
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, data) {
		return path, nil
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o555); err != nil {
		return "", fmt.Errorf("place nau-oci: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return "", fmt.Errorf("place nau-oci: %w", err)
	}
	return path, nil
}

// components are what runs on the node.
func (n *node) components(p *controlPlane, agent net.Listener) ([]component, error) {
	c := n.config
	as, err := p.clientFor(identity.User{Name: identity.NodePrefix + c.NodeName, Groups: []string{identity.Nodes, identity.Authenticated}})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, ip := range c.NodeIPs {
		names = append(names, ip.String())
	}
	certificate, err := p.keys.Cluster.Rotate(pki.NodeServer(c.NodeName, append(names, "127.0.0.1", "localhost")...), clock.RealClock{})
	if err != nil {
		return nil, err
	}
	tls := pki.ServerTLS(certificate)
	tls.ClientCAs = p.keys.Cluster.Pool()
	recorder, stop := p.recorder(as, corev1.EventSource{Component: "kubelet", Host: c.NodeName})
	kubelet, err := nodeagent.New(nodeagent.Config{
		NodeName: c.NodeName, NodeIPs: c.NodeIPs,
		Client: as.Kubernetes, Informers: p.admin.Informers, Pods: p.admin.Informers.Core().V1().Pods().Informer(),
		Runtime: n.runtime, Images: n.images, Streamer: n.streamer,
		RootDir: filepath.Join(c.DataDir, "agent"), RunDir: filepath.Join(c.RunDir, "agent"), LogDir: filepath.Join(c.DataDir, "log", "pods"),
		ClusterDNS: ips(c.ClusterDNS), ClusterDomain: c.ClusterDomain,
		APIServerHost: nth(c.ServiceCIDRs[0], 1).String(), APIServerPort: 443,
		CgroupRoot: n.cgroupRoot(), MaxPods: int64(c.MaxPods), PodPids: int64(c.PodPids), ReservedIDs: reservedIDs(c),
		Listener: agent, TLS: tls,
		RotateLogs: n.engine == nil, // Nau's monitor rotates what it writes
		Version:    version.GitVersion(), PodCIDRs: texts(c.nodePodCIDRs()),
		Recorder: recorder, Log: c.Log,
	})
	if err != nil {
		stop()
		return nil, err
	}
	if n.engine != nil { // docker pulls, builds and removes images too
		n.engine.Images.OnChange(kubelet.ImagesChanged)
	}
	out := []component{{"node agent", func(ctx context.Context) error {
		defer stop()
		return kubelet.Run(ctx)
	}}}

	services, err := n.serviceProxy(p)
	if err != nil {
		return nil, err
	}
	out = append(out, component{"service proxy", services.Run})
	names, err = dnsAddresses(c)
	if err != nil {
		return nil, err
	}
	answers, err := dns.New(dns.Config{Informers: p.admin.Informers, Domain: c.ClusterDomain, Listen: names, Log: c.Log})
	if err != nil {
		return nil, err
	}
	return append(out, component{"DNS", answers.Run}), nil
}

// serviceProxy is the proxy over a table of the instance's own in the kernel.
func (n *node) serviceProxy(p *controlPlane) (*proxy.Proxy, error) {
	c := n.config
	as, err := p.clientFor(identity.User{Name: identity.KubeProxy, Groups: []string{identity.Authenticated}})
	if err != nil {
		return nil, err
	}
	device := "" // a foreign runtime's bridge is not known
	if n.engine == nil {
		// The host's own connections to services need a route to be translated on; any will do, with an address that pods can answer.
		if err := nft.InstallRoutes(c.ServiceCIDRs, "lo", c.NodeIPs...); err != nil {
			return nil, fmt.Errorf("keep service addresses on this machine: %w", err)
		}
	} else {
		device = c.bridge()
		if err := nft.RouteLoopback(device); err != nil {
			return nil, fmt.Errorf("open node ports to loopback: %w", err)
		}
		if err := nft.InstallRoutes(c.ServiceCIDRs, device); err != nil {
			return nil, fmt.Errorf("keep service addresses on this machine: %w", err)
		}
	}
	table, err := nft.Open(nft.Config{Table: c.serviceTable(), ServiceCIDRs: c.ServiceCIDRs, PodCIDRs: c.PodCIDRs, Loopback: device != ""})
	if err != nil {
		return nil, fmt.Errorf("open service table: %w", err)
	}
	n.closers = append(n.closers, table.Close)
	return proxy.New(proxy.Config{
		Client: as.Kubernetes, Informers: p.admin.Informers, NodeName: c.NodeName,
		Backend: table, Conntrack: nft.Conntrack{}, Log: c.Log,
	})
}

// reports tells whether a Ready node speaks of this start and not of the one
// before.
func (n *node) reports(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return !condition.LastHeartbeatTime.Time.Before(n.started.Truncate(time.Second))
		}
	}
	return false
}

func (n *node) close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(errs...)
}

func (n *node) cgroupRoot() string {
	if n.engine == nil {
		return ""
	}
	return n.config.CgroupRoot
}

func ips(addrs []netip.Addr) []net.IP {
	var out []net.IP
	for _, a := range addrs {
		out = append(out, a.AsSlice())
	}
	return out
}

func texts(prefixes []netip.Prefix) []string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return out
}

// Places that depend on the instance.

func (c *Config) pkiDir() string { return filepath.Join(c.DataDir, "pki") }

func (c *Config) serviceTable() string { return c.Name() + "-services" }

func (c *Config) bridge() string { return strings.ToLower(c.Name()) + "0" }

// nodePodCIDRs are the first node's share of the cluster's pod ranges: a /24 and
// a /64, or all of a smaller range.
func (c *Config) nodePodCIDRs() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range c.PodCIDRs {
		bits := 24
		if p.Addr().Is6() {
			bits = 64
		}
		out = append(out, netip.PrefixFrom(p.Addr(), max(bits, p.Bits())))
	}
	return out
}
