package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"nau/cmd/nau/embedded"
	"nau/internal/cluster"
	"nau/internal/engine/cdi"
	"nau/internal/engine/container"
	"nau/internal/engine/subid"
)

// placeFlags are the two directories that tell instances apart.
func placeFlags(cmd *cobra.Command, c *cluster.Config) {
	cmd.Flags().StringVar(&c.DataDir, "data-dir", c.DataDir, "state that survives a reboot: store, images, keys, volumes")
	cmd.Flags().StringVar(&c.RunDir, "run-dir", c.RunDir, "sockets, namespaces and nau.pid")
}

// clusterFlags are the flags of `nau up`. finish puts the parsed texts into c.
func clusterFlags(cmd *cobra.Command, c *cluster.Config) (finish func() error) {
	placeFlags(cmd, c)
	f := cmd.Flags()
	f.StringVar(&c.Kubeconfig, "kubeconfig", "", "where to write the admin's kubeconfig (default DATA-DIR/kubeconfig)")
	f.StringVar(&c.NodeName, "node-name", "", "name of the node (default the host's name)")
	nodeIPs := f.IPSlice("node-ip", nil, "`addresses` of the node, one of each family (default: of the interface with the default route)")
	f.Lookup("node-ip").DefValue = "" // else help shows empty brackets
	f.StringVar(&c.BindAddress, "bind-address", "", "address to listen on (default all)")
	f.IntVar(&c.APIPort, "api-port", c.APIPort, "port of the Kubernetes API")
	f.IntVar(&c.AgentPort, "agent-port", c.AgentPort, "port of the node agent")
	f.IntVar(&c.RegistryPort, "registry-port", c.RegistryPort, "port on loopback of the registry that shares the engine's images; 0 for none")
	pods := f.StringSlice("pod-cidr", texts(c.PodCIDRs), "pods' addresses, one range of each family")
	services := f.StringSlice("service-cidr", texts(c.ServiceCIDRs), "services' addresses, one range of each family")
	dns := f.StringSlice("cluster-dns", nil, "address of the cluster's DNS (default the tenth of each service range)")
	f.StringVar(&c.ClusterDomain, "cluster-domain", c.ClusterDomain, "DNS domain of the cluster")
	f.StringSliceVar(&c.EtcdEndpoints, "etcd-endpoints", nil, "use these etcd servers (https://HOST:2379) instead of the embedded one")
	f.StringVar(&c.EtcdCA, "etcd-cafile", "", "CA of the etcd servers")
	f.StringVar(&c.EtcdCert, "etcd-certfile", "", "client certificate for etcd")
	f.StringVar(&c.EtcdKey, "etcd-keyfile", "", "its key")
	f.StringVar(&c.CRIEndpoint, "container-runtime-endpoint", "", "run pods on another CRI runtime (unix:///run/containerd/containerd.sock) instead of Nau's engine")
	f.StringVar(&c.CgroupRoot, "cgroup-root", "", "cgroup below which all containers run (default /nau)")
	f.StringSliceVar(&c.InsecureRegistries, "insecure-registry", nil, "registry (HOST[:PORT], or a range of addresses) to be spoken to by plain HTTP; loopback always may")
	mirrors := f.StringSlice("registry-mirror", nil, "HOST=URL: ask URL first for images of registry HOST (docker.io=http://127.0.0.1:5000)")
	runtimes := f.StringArray("runtime", nil, "NAME=PATH: a further OCI runtime, for docker run --runtime NAME and for RuntimeClasses with handler NAME")
	f.StringVar(&c.DefaultRuntime, "default-runtime", "", "name of the OCI runtime of containers that name none (default nau-oci, the built-in one)")
	f.StringSliceVar(&c.CDIDirs, "cdi-spec-dir", cdi.DefaultDirs, "folder with CDI descriptions of devices; what is in a later one wins")
	finishDocker := dockerFlags(cmd, &c.Docker)
	remap := f.String("userns-remap", "", "run Docker's containers in user namespaces whose ids are those of this user in /etc/subuid and /etc/subgid: default (dockremap), `USER[:GROUP]` or UID[:GID]")
	f.IntVar(&c.MaxPods, "max-pods", c.MaxPods, "pods that the node takes")
	f.IntVar(&c.PodPids, "pod-max-pids", c.PodPids, "processes and threads that a pod may have at once; 0 is no limit")
	return func() error {
		if c.PodPids < 0 {
			return flagError("--pod-max-pids", strconv.Itoa(c.PodPids), "a number of processes, or 0 for no limit")
		}
		c.NodeIPs = []net.IP(*nodeIPs)
		var err error
		if *remap != "" {
			if c.Remap, err = subid.System.Remap(*remap); err != nil {
				return fmt.Errorf("%w: --userns-remap: %w", errFlags, err)
			}
		}
		if c.PodCIDRs, err = prefixes("--pod-cidr", *pods); err != nil {
			return err
		}
		if c.ServiceCIDRs, err = prefixes("--service-cidr", *services); err != nil {
			return err
		}
		for _, text := range *dns {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return flagError("--cluster-dns", text, "an IP address")
			}
			c.ClusterDNS = append(c.ClusterDNS, addr)
		}
		for _, text := range *mirrors {
			host, url, ok := strings.Cut(text, "=")
			if !ok || !strings.Contains(url, "://") {
				return flagError("--registry-mirror", text, "HOST=URL")
			}
			if c.RegistryMirrors == nil {
				c.RegistryMirrors = map[string][]string{}
			}
			c.RegistryMirrors[host] = append(c.RegistryMirrors[host], url)
		}
		for _, text := range *runtimes {
			name, path, ok := strings.Cut(text, "=")
			if err := checkRuntime(name, path, ok); err != nil {
				return err
			}
			if c.Runtimes == nil {
				c.Runtimes = map[string]string{}
			}
			c.Runtimes[name] = path
		}
		if _, ok := c.Runtimes[c.DefaultRuntime]; !ok && c.DefaultRuntime != "" && c.DefaultRuntime != container.BuiltIn {
			return flagError("--default-runtime", c.DefaultRuntime, "registered by --runtime NAME=PATH")
		}
		finishDocker()
		c.Runtime = embedded.Runtime
		return errors.Join(c.Complete(), c.Check())
	}
}

// dockerFlags say how Docker's clients come in beside the socket.
func dockerFlags(cmd *cobra.Command, d *cluster.DockerAccess) (finish func()) {
	f := cmd.Flags()
	f.StringArrayVar(&d.Hosts, "docker-host", nil, "tcp://ADDRESS[:PORT] at which the Docker API answers too, to clients with a certificate; theirs are in DATA-DIR/docker-tls")
	secure := f.Bool("docker-tls", true, "TLS with client certificates at every --docker-host")
	f.StringVar(&d.CA, "docker-tlscacert", "", "authority of the clients' certificates (default Nau's own)")
	f.StringVar(&d.Cert, "docker-tlscert", "", "certificate that is shown to clients (default one of Nau's own)")
	f.StringVar(&d.Key, "docker-tlskey", "", "its key")
	f.BoolVar(&d.Unauthenticated, "docker-allow-unauthenticated", false, "with --docker-tls=false: let everybody in who reaches a --docker-host off loopback; they are root on this machine")
	f.StringVar(&d.Group, "docker-group", "", "group that may use the Docker socket beside root; its members are root on this machine")
	f.BoolVar(&d.Experimental, "experimental", false, "what Docker calls experimental: docker build --squash of the classic builder")
	return func() { d.NoTLS = !*secure }
}

var runtimeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// checkRuntime checks one --runtime.
func checkRuntime(name, path string, given bool) error {
	if !given || !runtimeName.MatchString(name) || !filepath.IsAbs(path) {
		return flagError("--runtime", name+"="+path, "NAME=PATH with an absolute path")
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return flagError("--runtime", name+"="+path, "the path of a program")
	}
	return nil
}

func prefixes(flag string, list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, flagError(flag, text, "a range such as 10.42.0.0/16")
		}
		out = append(out, p)
	}
	return out, nil
}

func texts(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}
