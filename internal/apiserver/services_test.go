package apiserver

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestServiceAddresses(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const path = "/api/v1/namespaces/ns/services"
	svc := func(name, spec string) reply {
		return c.do("POST", path, fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"ports":[{"port":80}]%s}}`, name, spec))
	}
	var s corev1.Service
	svc("a", "").want(201, &s)
	if !strings.HasPrefix(s.Spec.ClusterIP, "10.43.") || len(s.Spec.ClusterIPs) != 1 || s.Spec.IPFamilies[0] != corev1.IPv4Protocol || *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		t.Fatalf("%+v", s.Spec)
	}
	var ip networkingv1.IPAddress
	c.do("GET", "/apis/networking.k8s.io/v1/ipaddresses/"+s.Spec.ClusterIP, nil).want(200, &ip)
	if ip.Spec.ParentRef.Name != "a" {
		t.Fatalf("%+v", ip.Spec)
	}

	var dual corev1.Service
	svc("dual", `,"ipFamilyPolicy":"PreferDualStack"`).want(201, &dual)
	if len(dual.Spec.ClusterIPs) != 2 || !strings.HasPrefix(dual.Spec.ClusterIPs[1], "fd43::") {
		t.Fatalf("%+v", dual.Spec)
	}
	var six corev1.Service
	svc("six", `,"ipFamilies":["IPv6"]`).want(201, &six)
	if !strings.HasPrefix(six.Spec.ClusterIP, "fd43::") {
		t.Fatalf("%+v", six.Spec)
	}

	svc("asked", `,"clusterIP":"10.43.0.10"`).want(201)
	svc("again", `,"clusterIP":"10.43.0.10"`).fails(422, metav1.StatusReasonInvalid, "failed to allocate IP 10.43.0.10: provided IP is already allocated")
	svc("out", `,"clusterIP":"1.2.3.4"`).fails(422, metav1.StatusReasonInvalid, "failed to allocate IP 1.2.3.4: the provided network does not match the current range")
	c.do("DELETE", path+"/asked", nil).want(200)
	svc("again", `,"clusterIP":"10.43.0.10"`).want(201)

	var np, np2, none corev1.Service
	svc("np", `,"type":"NodePort"`).want(201, &np)
	port := np.Spec.Ports[0].NodePort
	if port < 30000 || port > 32767 {
		t.Fatalf("%+v", np.Spec)
	}
	body := fmt.Sprintf(`{"metadata":{"name":"np2"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":%d}]}}`, port)
	c.do("POST", path, body).fails(422, metav1.StatusReasonInvalid, "provided port is already allocated")
	c.do("PATCH", path+"/np", `{"spec":{"type":"ClusterIP"}}`, "Content-Type", "application/merge-patch+json").want(200, &none)
	if none.Spec.Ports[0].NodePort != 0 || none.Spec.ClusterIP != np.Spec.ClusterIP {
		t.Fatalf("%+v", none.Spec)
	}
	c.do("POST", path, body).want(201, &np2)

	var headless corev1.Service
	svc("headless", `,"clusterIP":"None","selector":{"a":"b"}`).want(201, &headless)
	if headless.Spec.ClusterIP != "None" || headless.Spec.ClusterIPs[0] != "None" || len(headless.Spec.IPFamilies) != 1 {
		t.Fatalf("%+v", headless.Spec)
	}

	// From single to dual stack and back.
	var up, down corev1.Service
	c.do("PATCH", path+"/a", `{"spec":{"ipFamilyPolicy":"RequireDualStack"}}`, "Content-Type", "application/merge-patch+json").want(200, &up)
	if len(up.Spec.ClusterIPs) != 2 || up.Spec.ClusterIPs[0] != s.Spec.ClusterIP {
		t.Fatalf("%+v", up.Spec)
	}
	c.do("PATCH", path+"/a", `{"spec":{"ipFamilyPolicy":"SingleStack"}}`, "Content-Type", "application/merge-patch+json").want(200, &down)
	if len(down.Spec.ClusterIPs) != 1 {
		t.Fatalf("%+v", down.Spec)
	}
	c.do("GET", "/apis/networking.k8s.io/v1/ipaddresses/"+up.Spec.ClusterIPs[1], nil).want(404)
}

// A service that contradicts itself is refused, not settled one way or the other.
func TestContradictoryServices(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const path = "/api/v1/namespaces/ns/services"
	for spec, want := range map[string]string{
		`"ipFamilies":["IPv4","IPv4"]`:                                `spec.ipFamilies[1]: Duplicate value: "IPv4"`,
		`"ipFamilies":["IPv5"]`:                                       `spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"`,
		`"ipFamilyPolicy":"SingleStack","ipFamilies":["IPv4","IPv6"]`: `spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack'`,
		`"clusterIPs":["10.43.0.77","fd43::77"]`:                      "spec.clusterIPs: Invalid value: [\"10.43.0.77\",\"fd43::77\"]: must be empty when `clusterIP` is not specified",
		`"clusterIP":"10.43.0.78","clusterIPs":["10.43.0.79"]`:        "spec.clusterIPs: Invalid value: [\"10.43.0.79\"]: first value must match `clusterIP`",
	} {
		c.do("POST", path, `{"metadata":{"name":"s"},"spec":{"ports":[{"port":80}],`+spec+`}}`).fails(422, metav1.StatusReasonInvalid, want)
	}
	c.do("POST", "/api/v1/namespaces", `{"metadata":{"name":"other"},"spec":{"finalizers":["x"]}}`).fails(422, metav1.StatusReasonInvalid, "spec.finalizers: Invalid value: \"x\": name is neither a standard finalizer name")
	// What an update leaves out or changes back is no contradiction.
	var s corev1.Service
	c.do("POST", path, `{"metadata":{"name":"s"},"spec":{"ports":[{"port":80}]}}`).want(201, &s)
	c.do("PATCH", path+"/s", `{"spec":{"clusterIP":null}}`, "Content-Type", "application/merge-patch+json").want(200)
	c.do("PATCH", path+"/s", `{"spec":{"type":"ExternalName","externalName":"x.y","clusterIP":""}}`, "Content-Type", "application/merge-patch+json").want(200)
	c.do("PATCH", path+"/s", `{"spec":{"type":"ClusterIP"}}`, "Content-Type", "application/merge-patch+json").want(200, &s)
	if s.Spec.ClusterIP == "" {
		t.Errorf("no address after the way back: %+v", s.Spec)
	}
}
