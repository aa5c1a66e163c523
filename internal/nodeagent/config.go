package nodeagent

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/utils/clock"

	"nau/internal/kernel/idmap"
)

// Config is all that a node agent is told. The zero value of every field that is not marked "required" has the default
// written beside it.
type Config struct {
	NodeName string   // required; name of the Node object
	Hostname string   // the label kubernetes.io/hostname and the Hostname address; default NodeName
	NodeIPs  []net.IP // required; the first is the primary one, at most one of each family

	Client kubernetes.Interface // required
	// Informers gives Services (for service environment variables). nil: pods get the variables of the API server's
	// service only as far as the agent can read it at a pod's start.
	Informers informers.SharedInformerFactory
	// Pods is an informer of this node's pods. It may hold other nodes' pods as well; the agent looks at its own only.
	// nil: the agent watches with the field selector spec.nodeName. The agent never starts an informer given to it.
	Pods cache.SharedIndexInformer

	Runtime runtimeapi.RuntimeServiceClient // required
	Images  runtimeapi.ImageServiceClient   // required
	// Streamer runs exec, attach and port-forward in process. nil: the URLs that the runtime's Exec, Attach and
	// PortForward calls return are dialled.
	Streamer streaming.Runtime

	RootDir     string // required; holds pods/UID/{volumes,containers,etc-hosts}; upstream's /var/lib/kubelet
	RunDir      string // default RootDir/run; sockets and other things that a reboot clears
	LogDir      string // default RootDir/log/pods; log files are at LogDir/NS_NAME_UID/CONTAINER/N.log
	ManifestDir string // static pods' manifests; "" = none

	ClusterDNS    []net.IP
	ClusterDomain string // default cluster.local
	ResolvConf    string // default /etc/resolv.conf, or systemd-resolved's upstream file when that one is a stub

	// APIServerHost and Port are what pods see as KUBERNETES_SERVICE_HOST and _PORT when the service
	// default/kubernetes is not known yet.
	APIServerHost string
	APIServerPort int32

	CgroupRoot string // e.g. /nau: pods get CgroupRoot/kubepods/…; "" = the runtime places containers as it likes
	MaxPods    int64  // default 110
	// ReservedIDs are host ids that no pod's user namespace is given, beside the first 65,536.
	ReservedIDs []idmap.Range
	PodPids     int64 // limit of processes a pod; 0 = none

	Listen   string       // default :10250; "-" = no server
	Listener net.Listener // instead of Listen; e.g. passed in by a test
	TLS      *tls.Config  // server's certificate; required unless Listen is "-"
	Authn    Authenticator
	Authz    Authorizer

	Version      string // kubeletVersion, required form v1.36.x
	InstanceType string
	Labels       map[string]string
	Taints       []corev1.Taint
	ProviderID   string
	Capacity     corev1.ResourceList // overrides what the machine has
	Reserved     corev1.ResourceList // allocatable = capacity - Reserved
	PodCIDRs     []string            // written to the node's spec when nobody allocates them; "" = leave alone

	RegistryAuth string // a docker config.json for the whole node; default RootDir/config.json

	ImageGCHigh, ImageGCLow int   // percent of the image disk; default 85 and 80; ImageGCHigh 100 switches it off
	LogMaxSize              int64 // bytes; default 10 MiB
	LogMaxFiles             int   // default 5
	ParallelPulls           int   // default 4; 1 = one at a time
	// RotateLogs makes the agent rotate container logs; needed with runtimes that do not do it themselves.
	RotateLogs bool

	AllowedSysctls []string // unsafe ones that pods may set

	// Simulated leaves the host alone: volumes, cgroups, hosts files and the machine's facts exist in memory only.
	// For simulated nodes over fakecri; Capacity is required then.
	Simulated bool

	Clock    clock.WithTicker     // default the real one
	Recorder record.EventRecorder // default one that writes through Client
	Log      *slog.Logger
}

// Who is an authenticated caller of the node's API.
type Who struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
}

// Authenticator tells who sends a request. nil in Config: client certificates that the server's TLS configuration has
// verified, then bearer tokens by TokenReview.
type Authenticator interface {
	Authenticate(r *http.Request) (*Who, bool, error)
}

// Ask is one question to an Authorizer: may Who do Verb on Resource/Subresource of the node, e.g. get nodes/log.
type Ask struct {
	Who                  *Who
	Verb                 string
	Node, Subresource    string
	Path, RequestContext string
}

// Authorizer answers Asks. nil in Config: by SubjectAccessReview, answers kept for a short while.
type Authorizer interface {
	Authorize(ctx context.Context, a Ask) (allowed bool, reason string, err error)
}

// complete fills in defaults and reports everything that is wrong with c at once.
func (c *Config) complete() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("configure node agent: "+what+" is required"))
		}
	}
	need(c.NodeName != "", "NodeName")
	need(len(c.NodeIPs) > 0, "NodeIPs")
	need(c.Client != nil, "Client")
	need(c.Runtime != nil, "Runtime")
	need(c.Images != nil, "Images")
	need(c.RootDir != "" || c.Simulated, "RootDir")
	need(c.Capacity != nil || !c.Simulated, "Capacity of a simulated node")
	need(c.TLS != nil || c.Listen == "-", "TLS, unless Listen is \"-\",")
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	str := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	str(&c.Hostname, c.NodeName)
	str(&c.RunDir, filepath.Join(c.RootDir, "run"))
	str(&c.LogDir, filepath.Join(c.RootDir, "log", "pods"))
	str(&c.ClusterDomain, "cluster.local")
	str(&c.ResolvConf, defaultResolvConf())
	str(&c.Listen, ":10250")
	str(&c.Version, "v1.36.3")
	str(&c.RegistryAuth, filepath.Join(c.RootDir, "config.json"))
	num := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	num(&c.ImageGCHigh, 85)
	num(&c.ImageGCLow, 80)
	num(&c.LogMaxFiles, 5)
	num(&c.ParallelPulls, 4)
	if c.LogMaxSize == 0 {
		c.LogMaxSize = 10 << 20
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Log = c.Log.With("room", "nodeagent", "node", c.NodeName)
	return nil
}

// resolvedUpstream is where systemd-resolved writes the servers that its stub forwards to: a pod cannot reach the stub.
const resolvedUpstream = "/run/systemd/resolve/resolv.conf"

func defaultResolvConf() string {
	if target, err := os.Readlink("/etc/resolv.conf"); err == nil && filepath.Base(target) == "stub-resolv.conf" {
		if _, err := os.Stat(resolvedUpstream); err == nil {
			return resolvedUpstream
		}
	}
	return "/etc/resolv.conf"
}

// port is where the agent's server can be reached.
func (c *Config) port() int32 {
	addr := c.Listen
	if c.Listener != nil {
		addr = c.Listener.Addr().String()
	}
	_, p, err := net.SplitHostPort(addr)
	n, perr := strconv.ParseInt(p, 10, 32)
	if err != nil || perr != nil {
		return 0
	}
	return int32(n)
}

// leaseRenewal is how often the node's lease is renewed; it lives four times as long. Source: KEP-589.
const leaseRenewal = 10 * time.Second
