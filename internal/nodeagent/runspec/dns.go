package runspec

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The limits of a resolver's configuration. Source: "Pod's DNS Config".
const (
	maxNameservers = 3
	maxSearches    = 32
)

// Resolv is a parsed resolv.conf.
type Resolv struct{ Servers, Searches, Options []string }

// ParseResolv reads a resolv.conf; what it does not know it skips.
func ParseResolv(data []byte) (r Resolv) {
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.Servers = append(r.Servers, f[1])
		case "search":
			r.Searches = nil
			for _, s := range f[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				r.Searches = append(r.Searches, s)
			}
		case "options":
			r.Options = append([]string(nil), f[1:]...)
		}
	}
	return r
}

// DNS is the resolver configuration of a pod, and a warning for an event when something had to be left out.
func DNS(pod *corev1.Pod, cluster []net.IP, domain string, host Resolv) (*runtimeapi.DNSConfig, string) {
	out := &runtimeapi.DNSConfig{}
	policy, warning := pod.Spec.DNSPolicy, ""
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork || policy == "" {
		policy = corev1.DNSDefault
	}
	if policy == corev1.DNSClusterFirstWithHostNet {
		policy = corev1.DNSClusterFirst
	}
	if policy == corev1.DNSClusterFirst && len(cluster) == 0 {
		policy = corev1.DNSDefault
		warning = fmt.Sprintf("pod: %q. kubelet does not have ClusterDNS IP configured and cannot create Pod using %q policy. Falling back to %q policy.",
			pod.Name+"_"+pod.Namespace+"("+string(pod.UID)+")", pod.Spec.DNSPolicy, corev1.DNSDefault)
	}
	switch policy {
	case corev1.DNSClusterFirst:
		for _, ip := range cluster {
			out.Servers = append(out.Servers, ip.String())
		}
		out.Searches = append([]string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}, host.Searches...)
		out.Options = []string{"ndots:5"}
	case corev1.DNSDefault:
		out.Servers, out.Searches, out.Options = slices.Clone(host.Servers), slices.Clone(host.Searches), slices.Clone(host.Options)
		if len(out.Servers) == 0 {
			out.Servers = []string{"127.0.0.1", "::1"}
		}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		out.Servers = append(out.Servers, c.Nameservers...)
		out.Searches = append(out.Searches, c.Searches...)
		for _, o := range c.Options {
			out.Options = slices.DeleteFunc(out.Options, func(s string) bool { n, _, _ := strings.Cut(s, ":"); return n == o.Name })
			if o.Value != nil && *o.Value != "" {
				out.Options = append(out.Options, o.Name+":"+*o.Value)
			} else {
				out.Options = append(out.Options, o.Name)
			}
		}
	}
	out.Servers, out.Searches = unique(out.Servers), unique(out.Searches)
	if len(out.Servers) > maxNameservers {
		out.Servers = out.Servers[:maxNameservers]
		warning = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: " + strings.Join(out.Servers, " ")
	}
	if len(out.Searches) > maxSearches {
		out.Searches = out.Searches[:maxSearches]
		warning = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Join(out.Searches, " ")
	}
	return out, warning
}

func unique(list []string) (out []string) {
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
