package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"nau/internal/cluster/host"
	"nau/internal/kernel/idmap"
)

// Config is everything that an instance of Nau is told. Default fills it in.
type Config struct {
	DataDir    string // state that survives a reboot
	RunDir     string // sockets, pins and pid file; does not
	Kubeconfig string // where the admin's kubeconfig is written; "" is DataDir/kubeconfig

	NodeName string   // "" is the host's name
	NodeIPs  []net.IP // empty: found out, see host.Addresses; at most one of each family

	BindAddress string // address that the API server and the node agent listen on; "" is all
	APIPort     int
	AgentPort   int
	// RegistryPort is the port on loopback of the registry over the engine's
	// images; 0 serves none.
	RegistryPort int
	DNSPort      int // on the DNS service address

	PodCIDRs      []netip.Prefix // one of each family
	ServiceCIDRs  []netip.Prefix
	ClusterDNS    []netip.Addr // addresses inside ServiceCIDRs
	ClusterDomain string

	EtcdEndpoints                     []string // empty: embedded
	EtcdCA, EtcdCert, EtcdKey         string
	CRIEndpoint                       string // "": Nau's own engine, in process
	CgroupRoot                        string // "" is /NAME
	InsecureRegistries                []string
	RegistryMirrors                   map[string][]string // registry host → endpoint URLs, tried in order
	Runtimes                          map[string]string   // name → OCI runtime binary, for RuntimeClass handlers and docker run --runtime
	Remap                             idmap.Map           // of Docker's containers; zero is the host's own ids
	DefaultRuntime                    string              // name of one of them; "" is nau-oci
	CDIDirs                           []string            // of descriptions of vendors' devices
	Docker                            DockerAccess
	MaxPods                           int
	PodPids                           int                    // processes that a pod may have at once; 0 is no limit
	Runtime                           func() ([]byte, error) `json:"-"` // nau-oci's bytes
	Log                               *slog.Logger           `json:"-"`
	Progress                          func(Phase)            `json:"-"` // told of each phase of the start; nil: nobody
	ServiceNodePortFirst, NodePortEnd int
}

// Default is an instance at the usual places and addresses.
func Default() Config {
	return Config{
		DataDir: "/var/lib/nau", RunDir: "/run/nau",
		APIPort: 6443, AgentPort: 10250, RegistryPort: 5001, DNSPort: 53,
		PodCIDRs:      []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")},
		ServiceCIDRs:  []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd43::/112")},
		ClusterDomain: "cluster.local",
		MaxPods:       110, PodPids: 4096, ServiceNodePortFirst: 30000, NodePortEnd: 32767,
	}
}

// instanceRule is what a kept name looks like.
var instanceRule = regexp.MustCompile(`^nau[0-9a-f]{0,4}$`)

// Name is the instance's tag on kernel objects: "nau" for the usual data
// directory, else with four digits of the directory's digest. It is kept in
// the directory, and stays when that is moved.
func (c *Config) Name() string {
	if b, err := os.ReadFile(c.nameFile()); err == nil && instanceRule.Match(b) {
		return string(b)
	}
	if c.DataDir == "/var/lib/nau" {
		return "nau"
	}
	sum := sha256.Sum256([]byte(c.DataDir))
	return "nau" + hex.EncodeToString(sum[:2])
}

func (c *Config) nameFile() string { return filepath.Join(c.DataDir, "instance") }

// keepName writes the instance's name into its data directory.
func (c *Config) keepName() error {
	if _, err := os.Stat(c.nameFile()); err == nil {
		return nil
	}
	return os.WriteFile(c.nameFile(), []byte(c.Name()), 0o644)
}

// KubeconfigPath is where the admin's kubeconfig is.
func (c *Config) KubeconfigPath() string {
	if c.Kubeconfig != "" {
		return c.Kubeconfig
	}
	return filepath.Join(c.DataDir, "kubeconfig")
}

// ErrUsage marks errors that are the caller's: exit code 2.
var ErrUsage = errors.New("usage")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...))
}

// Complete fills in what can be found out and reports everything that is wrong.
func (c *Config) Complete() error {
	var errs []error
	for _, dir := range []*string{&c.DataDir, &c.RunDir} {
		abs, err := filepath.Abs(*dir)
		if err != nil || *dir == "" {
			errs = append(errs, usage("directory %q has no absolute form", *dir))
		}
		*dir = abs
	}
	if len(filepath.Join(c.RunDir, "monitor.sock")) > 100 {
		errs = append(errs, usage("--run-dir %s is too long for the sockets in it (100 bytes)", c.RunDir))
	}
	errs = append(errs, c.Docker.check())
	if c.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			errs = append(errs, err)
		}
		c.NodeName = strings.ToLower(name)
	}
	if len(c.NodeIPs) == 0 {
		c.NodeIPs = host.Addresses()
	}
	if len(c.NodeIPs) == 0 && len(c.PodCIDRs) > 0 { // no network at all: the bridge's own address serves
		c.NodeIPs = []net.IP{c.PodCIDRs[0].Masked().Addr().Next().AsSlice()}
	}
	errs = append(errs, checkRanges("--pod-cidr", c.PodCIDRs), checkRanges("--service-cidr", c.ServiceCIDRs))
	for _, p := range c.PodCIDRs {
		for _, s := range c.ServiceCIDRs {
			if p.Overlaps(s) {
				errs = append(errs, usage("--pod-cidr %s and --service-cidr %s overlap", p, s))
			}
		}
	}
	if len(c.ClusterDNS) == 0 {
		for _, s := range c.ServiceCIDRs {
			c.ClusterDNS = append(c.ClusterDNS, nth(s, 10))
		}
	}
	for _, dns := range c.ClusterDNS {
		inside := false
		for _, s := range c.ServiceCIDRs {
			inside = inside || s.Contains(dns)
		}
		if !inside {
			errs = append(errs, usage("--cluster-dns %s is in no --service-cidr", dns))
		}
	}
	for name, port := range map[string]int{"--api-port": c.APIPort, "--agent-port": c.AgentPort} {
		if port < 1 || port > 65535 {
			errs = append(errs, usage("%s %d is no port", name, port))
		}
	}
	if c.CgroupRoot == "" {
		c.CgroupRoot = "/" + c.Name()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Progress == nil {
		c.Progress = func(Phase) {}
	}
	return errors.Join(errs...)
}

func checkRanges(flag string, ranges []netip.Prefix) error {
	seen := map[bool]bool{}
	if len(ranges) == 0 {
		return usage("%s is empty", flag)
	}
	for _, r := range ranges {
		if r != r.Masked() {
			return usage("%s %s has host bits set; write %s", flag, r, r.Masked())
		}
		if seen[r.Addr().Is4()] {
			return usage("%s has two ranges of one family", flag)
		}
		seen[r.Addr().Is4()] = true
	}
	return nil
}

// nth is the n-th address of a range.
func nth(p netip.Prefix, n int) netip.Addr {
	addr := p.Masked().Addr()
	for range n {
		addr = addr.Next()
	}
	return addr
}
