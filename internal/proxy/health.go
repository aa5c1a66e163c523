package proxy

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ListenFunc is net.Listen.
type ListenFunc func(network, address string) (net.Listener, error)

// healthPorts answers load balancers that ask whether this node has endpoints of a Service (spec.healthCheckNodePort): 200 if so, else
// 503, with the number in the body as upstream has it.
type healthPorts struct {
	listen ListenFunc
	mu     sync.Mutex
	ports  map[types.NamespacedName]*healthPort
}

type healthPort struct {
	port   uint16
	count  int
	server *http.Server // nil if the port could not be opened
}

func newHealthPorts(listen ListenFunc) *healthPorts {
	if listen == nil {
		listen = net.Listen
	}
	return &healthPorts{listen: listen, ports: map[types.NamespacedName]*healthPort{}}
}

// set says on which port, 0 for none, a Service's count of local endpoints is to be had.
func (h *healthPorts) set(name types.NamespacedName, port uint16, count int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.ports[name]
	if old != nil && old.port == port {
		old.count = count
		if old.server != nil {
			return
		}
	}
	if old != nil && old.server != nil {
		old.server.Close()
	}
	delete(h.ports, name)
	if port == 0 {
		return
	}
	p := &healthPort{port: port, count: count}
	h.ports[name] = p
	l, err := h.listen("tcp", net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		return // busy: the next change of the Service tries again, and the load balancer sees the node as down
	}
	p.server = &http.Server{Handler: h.handler(name), ReadHeaderTimeout: 5 * time.Second}
	go p.server.Serve(l)
}

func (h *healthPorts) handler(name types.NamespacedName) http.Handler {
	type answer struct {
		Service struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"service"`
		LocalEndpoints      int  `json:"localEndpoints"`
		ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		p := h.ports[name]
		a := answer{ServiceProxyHealthy: true}
		a.Service.Namespace, a.Service.Name = name.Namespace, name.Name
		if p != nil {
			a.LocalEndpoints = p.count
		}
		h.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(a.LocalEndpoints))
		if a.LocalEndpoints == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(a)
	})
}

func (h *healthPorts) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ports {
		if p.server != nil {
			p.server.Close()
		}
	}
	clear(h.ports)
}

// LocalEndpoints counts the ready endpoints on the node. One that has addresses of both families counts once.
func LocalEndpoints(n Node, slices []*discoveryv1.EndpointSlice) int {
	byType := map[discoveryv1.AddressType]map[string]bool{}
	for _, sl := range slices {
		for i := range sl.Endpoints {
			e := &sl.Endpoints[i]
			if e.NodeName == nil || *e.NodeName != n.Name || (e.Conditions.Ready != nil && !*e.Conditions.Ready) || len(e.Addresses) == 0 {
				continue
			}
			if byType[sl.AddressType] == nil {
				byType[sl.AddressType] = map[string]bool{}
			}
			byType[sl.AddressType][e.Addresses[0]] = true
		}
	}
	most := 0
	for _, set := range byType {
		most = max(most, len(set))
	}
	return most
}
