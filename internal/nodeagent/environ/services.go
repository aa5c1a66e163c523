package environ

import (
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Services returns the variables that describe services to a pod in namespace ns: those of its own namespace if links,
// and the API server's always. Services without a cluster address have none. Source: "Service: Discovering services".
func Services(services []*corev1.Service, ns string, links bool) map[string]string {
	vars := map[string]string{}
	api := func(s *corev1.Service) bool { return s.Namespace == corev1.NamespaceDefault && s.Name == "kubernetes" }
	for _, s := range services {
		if api(s) {
			service(vars, s)
		}
	}
	for _, s := range services {
		if links && s.Namespace == ns && !api(s) {
			service(vars, s)
		}
	}
	return vars
}

func service(vars map[string]string, s *corev1.Service) {
	if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	name := shout(s.Name)
	vars[name+"_SERVICE_HOST"] = s.Spec.ClusterIP
	vars[name+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		port, proto := strconv.Itoa(int(p.Port)), string(p.Protocol)
		if proto == "" {
			proto = "TCP"
		}
		if p.Name != "" {
			vars[name+"_SERVICE_PORT_"+shout(p.Name)] = port
		}
		url := strings.ToLower(proto) + "://" + net.JoinHostPort(s.Spec.ClusterIP, port)
		if i == 0 {
			vars[name+"_PORT"] = url
		}
		prefix := name + "_PORT_" + port + "_" + strings.ToUpper(proto)
		vars[prefix] = url
		vars[prefix+"_PROTO"] = strings.ToLower(proto)
		vars[prefix+"_PORT"] = port
		vars[prefix+"_ADDR"] = s.Spec.ClusterIP
	}
}

func shout(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
