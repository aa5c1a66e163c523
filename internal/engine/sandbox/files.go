package sandbox

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// maxResolv bounds what is read of the host's resolv.conf.
const maxResolv = 1 << 20

// parseResolv reads a resolv.conf. Lines that are not understood are passed over. Source: resolv.conf(5).
func parseResolv(r io.Reader) DNS {
	var d DNS
	sc := bufio.NewScanner(io.LimitReader(r, maxResolv))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			host, _, _ := strings.Cut(f[1], "%")
			if _, err := netip.ParseAddr(host); err == nil {
				d.Servers = append(d.Servers, f[1])
			}
		case "domain", "search":
			d.Searches = f[1:]
		case "options":
			d.Options = append(d.Options, f[1:]...)
		}
	}
	return d
}

// The files that say whom the host asks: its own, and where systemd-resolved writes the servers that its stub on the loopback forwards to.
const (
	hostResolv     = "/etc/resolv.conf"
	resolvedResolv = "/run/systemd/resolve/resolv.conf"
)

// publicServers are asked by sandboxes with a network of their own on a host that names nobody whom they could reach. Source: Docker's
// documentation, "Networking overview, DNS services".
var publicServers = []string{"8.8.8.8", "8.8.4.4"}

// hostDNS is the host's resolv.conf as a sandbox can use it; own tells that it has a network of its own.
func hostDNS(own bool) DNS {
	return reachable(own, readResolv(hostResolv), func() DNS { return readResolv(resolvedResolv) })
}

func readResolv(path string) DNS {
	f, err := os.Open(path)
	if err != nil {
		return DNS{}
	}
	defer f.Close()
	return parseResolv(f)
}

// reachable leaves the servers out that a sandbox with a network of its own cannot reach: those on the host's loopback. Where none is left, they
// are those that the stub there forwards to, or public ones.
func reachable(own bool, d DNS, behind func() DNS) DNS {
	if !own {
		return d
	}
	far := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err != nil || a.IsLoopback()
		})
	}
	d.Servers = far(d.Servers)
	if len(d.Servers) == 0 {
		d.Servers = far(behind().Servers)
	}
	if len(d.Servers) == 0 {
		d.Servers = publicServers
	}
	return d
}

// orHost is what the host says where nothing else is said.
func (d DNS) orHost(own bool) DNS {
	if !d.empty() {
		return d
	}
	h := hostDNS(own)
	h.ServersFirst = d.ServersFirst
	return h
}

func (d DNS) empty() bool { return len(d.Servers) == 0 && len(d.Searches) == 0 && len(d.Options) == 0 }

// render writes resolv.conf. An entry with a line break or blank in it could write lines of its own, and is refused.
func (d DNS) render() ([]byte, error) {
	for _, s := range slices.Concat(d.Servers, d.Searches, d.Options) {
		if s == "" || strings.ContainsAny(s, "\r\n\t ") {
			return nil, fmt.Errorf("write resolv.conf: bad entry %q", s)
		}
	}
	var search, servers, b bytes.Buffer
	if len(d.Searches) > 0 {
		fmt.Fprintf(&search, "search %s\n", strings.Join(d.Searches, " "))
	}
	for _, s := range d.Servers {
		fmt.Fprintf(&servers, "nameserver %s\n", s)
	}
	if d.ServersFirst {
		search, servers = servers, search
	}
	b.Write(search.Bytes())
	b.Write(servers.Bytes())
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.Bytes(), nil
}

// usualHosts begin a container's hosts file.
const usualHosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

// hostsFile is a sandbox's hosts file: in the host's network the host's own, then the names that were asked for.
func (r *Record) hostsFile(hostname string) ([]byte, error) {
	if r.Config.HostNet {
		if own, err := os.ReadFile("/etc/hosts"); err == nil {
			return renderHosts(own, "", "", nil, r.Config.Hosts)
		}
	}
	return renderHosts(nil, hostname, r.Config.Domainname, r.Addrs(), r.Config.Hosts)
}

// renderHosts writes a hosts file that begins with begin, or as those of containers do.
func renderHosts(begin []byte, hostname, domain string, addrs []netip.Addr, extra []HostAlias) ([]byte, error) {
	var b bytes.Buffer
	if b.Write(begin); len(begin) > 0 && begin[len(begin)-1] != '\n' {
		b.WriteByte('\n')
	}
	if len(begin) == 0 {
		b.WriteString(usualHosts)
	}
	for _, h := range extra {
		for _, n := range h.Names {
			if n == "" || strings.ContainsAny(n, "\r\n\t #") {
				return nil, fmt.Errorf("write hosts file: bad name %q", n)
			}
		}
		fmt.Fprintf(&b, "%s\t%s\n", h.Addr, strings.Join(h.Names, " "))
	}
	names := hostname
	if domain != "" {
		names = hostname + "." + domain + " " + hostname
	} else if short, _, dotted := strings.Cut(hostname, "."); dotted && short != "" {
		names += " " + short
	}
	for _, a := range addrs {
		fmt.Fprintf(&b, "%s\t%s\n", a, names)
	}
	return b.Bytes(), nil
}
