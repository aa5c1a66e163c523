package runspec

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const hostnameMax = 63

// Hostname is the pod's host name within its UTS namespace and its domain, "" without a subdomain. node is the node's.
func Hostname(pod *corev1.Pod, node, clusterDomain string) (name, domain string, err error) {
	if pod.Spec.HostNetwork && pod.Spec.HostnameOverride == nil {
		return node, "", nil
	}
	if o := pod.Spec.HostnameOverride; o != nil {
		return *o, "", nil
	}
	name = pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	if len(name) > hostnameMax {
		name = strings.TrimRight(name[:hostnameMax], "-.")
	}
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && domain != "" {
		fqdn := name + "." + domain
		if len(fqdn) > hostnameMax+1 {
			return "", "", fmt.Errorf("construct FQDN from pod hostname and cluster domain: FQDN %s is too long (%d characters is the max, %d characters requested)", fqdn, hostnameMax+1, len(fqdn))
		}
		return fqdn, domain, nil
	}
	return name, domain, nil
}

// Hosts is the content of a pod's /etc/hosts. host is the node's own file, used on the host network only.
func Hosts(pod *corev1.Pod, ips []string, name, domain string, host []byte) []byte {
	var b bytes.Buffer
	if pod.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(host)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n" +
			"fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		short, _, _ := strings.Cut(name, ".")
		for _, ip := range ips {
			if domain != "" {
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, short, domain, short)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, name)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.Bytes()
}

// LogDirectory is the folder of all of a pod's logs.
func LogDirectory(root string, pod *corev1.Pod) string {
	return filepath.Join(root, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// LogPath is a container's log file below LogDirectory.
func LogPath(container string, attempt uint32) string {
	return filepath.Join(container, fmt.Sprintf("%d.log", attempt))
}
