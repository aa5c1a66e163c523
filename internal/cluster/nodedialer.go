package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/clock"

	"nau/internal/apiserver/rbac"
	"nau/internal/cluster/pki"
)

// nodeDialer reaches node agents by the addresses that their nodes report.
type nodeDialer struct {
	nodes   corelisters.NodeLister
	agents  func() (*http.Transport, error)
	network *http.Transport
}

func newNodeDialer(p *controlPlane) *nodeDialer {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &nodeDialer{
		nodes: p.admin.Informers.Core().V1().Nodes().Lister(),
		agents: sync.OnceValues(func() (*http.Transport, error) {
			certificate, err := p.keys.Cluster.Rotate(pki.Client(rbac.NodeClient, "system:masters"), clock.RealClock{})
			if err != nil {
				return nil, err
			}
			// Upgrades (exec, attach, port-forward) need HTTP/1.1.
			return &http.Transport{
				DialContext: dialer.DialContext, TLSClientConfig: p.keys.Cluster.ClientTLS(certificate),
				IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8,
			}, nil
		}),
		// What a pod serves on https: is signed by nobody whom the cluster knows.
		network: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
}

// Agent is the base URL and transport of a node's agent.
func (d *nodeDialer) Agent(_ context.Context, name string) (*url.URL, http.RoundTripper, error) {
	node, err := d.nodes.Get(name)
	if err != nil {
		return nil, nil, err
	}
	address := reachable(node)
	if address == "" {
		return nil, nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has reported no address yet", name))
	}
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		return nil, nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has reported no port of its agent yet", name))
	}
	transport, err := d.agents()
	if err != nil {
		return nil, nil, err
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(address, strconv.Itoa(port))}, transport, nil
}

// reachable is the address to call a node at: internal before external before
// its host name.
func reachable(node *corev1.Node) string {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == kind {
				return a.Address
			}
		}
	}
	return ""
}

// Network is the transport to pods and services.
func (d *nodeDialer) Network() http.RoundTripper { return d.network }
