package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Check reports every flag of a start whose value can be told to be wrong by looking at it, after Complete. What only looks or stops does not ask:
// the host's name may be none for a node.
func (c *Config) Check() error {
	var errs []error
	wrong := func(flag string, value any, want string) {
		errs = append(errs, usage("%s %q is not %s", flag, fmt.Sprint(value), want))
	}
	if len(validation.IsDNS1123Subdomain(c.NodeName)) > 0 {
		wrong("--node-name", c.NodeName, "a node's name: small letters, digits, - and . only, at most 253; without the flag it is the host's name")
	}
	if c.ClusterDomain != "" && len(validation.IsDNS1123Subdomain(c.ClusterDomain)) > 0 {
		wrong("--cluster-domain", c.ClusterDomain, "a DNS domain: small letters, digits, - and . only")
	}
	if c.MaxPods < 0 {
		wrong("--max-pods", c.MaxPods, "a number of pods")
	}
	for _, r := range c.InsecureRegistries {
		if _, err := netip.ParsePrefix(r); err != nil && !isHost(r) {
			wrong("--insecure-registry", r, "HOST[:PORT] or a range of addresses")
		}
	}
	if !c.Remap.IsZero() && c.CRIEndpoint != "" {
		errs = append(errs, usage("--userns-remap is of Docker's containers, of which there are none with --container-runtime-endpoint: pods have spec.hostUsers"))
	}
	for _, e := range c.EtcdEndpoints {
		if !isEndpoint(e) {
			wrong("--etcd-endpoints", e, "https://HOST:PORT, http://HOST:PORT or HOST:PORT")
		}
	}
	return errors.Join(errs...)
}

// isHost tells HOST and HOST:PORT from addresses with a scheme or path.
func isHost(s string) bool {
	host, port := s, "1"
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	return host != "" && !strings.ContainsAny(host, "/@? ") && isPort(port)
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n <= 65535
}

func isEndpoint(s string) bool {
	if u, err := url.Parse(s); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		return isPort(u.Port()) && u.Hostname() != "" && (u.Path == "" || u.Path == "/")
	}
	host, port, err := net.SplitHostPort(s)
	return err == nil && host != "" && isPort(port)
}
