package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/utils/clock"

	"nau/internal/cluster/pki"
)

// DockerAccess says how Docker's clients may come in beside the socket in the
// run directory. Whoever may speak this API is root on the machine.
type DockerAccess struct {
	Hosts []string // tcp://ADDRESS:PORT
	Group string   // that may use the socket beside root; "" is nobody

	// NoTLS serves Hosts without TLS, so to anybody who reaches them. Off
	// loopback that needs Unauthenticated too.
	NoTLS, Unauthenticated bool
	// CA, Cert and Key replace Nau's own: whose clients come in, and what the
	// server shows.
	CA, Cert, Key string

	Experimental bool // what Docker calls experimental: docker build --squash
}

// Docker's ports by custom. Source: the IANA registry, docker and docker-s.
const dockerPort, dockerTLSPort = 2375, 2376

// dockerAddress reads one of DockerAccess.Hosts.
func (d *DockerAccess) dockerAddress(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "tcp" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return "", usage("--docker-host %s is not tcp://ADDRESS:PORT", text)
	}
	port := u.Port()
	if port == "" {
		port = strconv.Itoa(dockerTLSPort)
		if d.NoTLS {
			port = strconv.Itoa(dockerPort)
		}
	}
	host := u.Hostname()
	if host == "" {
		host = "127.0.0.1"
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	if d.NoTLS && !loopback && !d.Unauthenticated {
		return "", usage("--docker-host %s without TLS makes everybody who reaches it root on this machine: leave --docker-tls=false away, listen on 127.0.0.1, or say --docker-allow-unauthenticated", text)
	}
	return net.JoinHostPort(host, port), nil
}

// check reports all that is wrong.
func (d *DockerAccess) check() error {
	var errs []error
	for _, h := range d.Hosts {
		_, err := d.dockerAddress(h)
		errs = append(errs, err)
	}
	if given := (d.CA != "") == (d.Cert != "") && (d.Cert != "") == (d.Key != ""); !given {
		errs = append(errs, usage("--docker-tlscacert, --docker-tlscert and --docker-tlskey belong together: give all three, or none for Nau's own"))
	}
	if d.Group != "" {
		if _, err := groupID(d.Group); err != nil {
			errs = append(errs, usage("--docker-group %s: %v", d.Group, err))
		}
	}
	return errors.Join(errs...)
}

func groupID(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// dockerListeners opens the addresses beside the socket.
func (n *node) dockerListeners() ([]net.Listener, error) {
	d := &n.config.Docker
	if len(d.Hosts) == 0 {
		return nil, nil
	}
	var config *tls.Config
	if !d.NoTLS {
		var err error
		if config, err = n.dockerTLS(); err != nil {
			return nil, err
		}
	}
	var out []net.Listener
	for _, h := range d.Hosts {
		address, err := d.dockerAddress(h)
		if err != nil {
			return out, err
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return out, usage("--docker-host %s: %v; choose another port, or see who has it with `ss -ltnp`", h, errors.Unwrap(err))
		}
		if config != nil {
			l = tls.NewListener(l, config)
		} else {
			n.config.Log.Warn("the Docker API answers without TLS: whoever reaches it is root on this machine", "address", address)
		}
		out = append(out, l)
	}
	return out, nil
}

// dockerTLS lets clients in that show a certificate of one authority: the
// user's, or one of Nau's that is for this alone, so that no certificate of the
// cluster opens this door. Its client files lie in DATADIR/docker-tls, which is
// what DOCKER_CERT_PATH wants.
func (n *node) dockerTLS() (*tls.Config, error) {
	d := &n.config.Docker
	// HTTP/1.1 only: attach and exec take the connection over.
	config := &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"http/1.1"}}
	if d.CA != "" {
		text, err := os.ReadFile(d.CA)
		if err != nil {
			return nil, usage("--docker-tlscacert: %v", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(text) {
			return nil, usage("--docker-tlscacert %s holds no certificate", d.CA)
		}
		pair, err := tls.LoadX509KeyPair(d.Cert, d.Key)
		if err != nil {
			return nil, usage("--docker-tlscert %s and --docker-tlskey %s: %v", d.Cert, d.Key, err)
		}
		config.Certificates = []tls.Certificate{pair}
		return config, nil
	}
	dir, now := filepath.Join(n.config.DataDir, "docker-tls"), time.Now()
	authority, err := pki.OpenAuthority(filepath.Join(dir, "authority"), "ca", "nau-docker-ca", now)
	if err != nil {
		return nil, err
	}
	if err := authority.ClientFiles(dir, pki.Subject{CommonName: "docker-client", Client: true, Life: pki.AdminLife}, now); err != nil {
		return nil, fmt.Errorf("make client certificate for Docker: %w", err)
	}
	names := []string{n.config.NodeName, "localhost", "127.0.0.1", "::1"}
	for _, ip := range n.config.NodeIPs {
		names = append(names, ip.String())
	}
	for _, h := range d.Hosts {
		if address, err := d.dockerAddress(h); err == nil {
			host, _, _ := net.SplitHostPort(address)
			names = append(names, host)
		}
	}
	shown, err := authority.Rotate(pki.NodeServer(n.config.NodeName, names...), clock.RealClock{})
	if err != nil {
		return nil, err
	}
	config.ClientCAs, config.GetCertificate = authority.Pool(), shown.GetCertificate
	return config, nil
}

// guardDocker lets root, and the group if there is one, use the socket.
func (n *node) guardDocker(path string) error {
	if err := os.Chmod(path, 0o660); err != nil {
		return fmt.Errorf("guard Docker socket: %w", err)
	}
	if n.config.Docker.Group == "" {
		return nil
	}
	gid, err := groupID(n.config.Docker.Group)
	if err == nil {
		err = os.Chown(path, 0, gid)
	}
	if err != nil {
		return fmt.Errorf("give Docker socket to group %s: %w", n.config.Docker.Group, err)
	}
	return nil
}

// serveHTTP answers on a listener until the server is shut down.
func (n *node) serveHTTP(server *http.Server, what string, l net.Listener) {
	go func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			n.config.Log.Error("serve "+what, "error", err)
		}
	}()
}
