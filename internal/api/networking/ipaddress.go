package networking

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"

	"nau/internal/api"
)

// ipAddress declares the resource ipaddresses.
func ipAddress() *api.Resource {
	return &api.Resource{
		Group: "networking.k8s.io",
		Kind:  "IPAddress", Plural: "ipaddresses", Singular: "ipaddress",
		ShortNames: []string{"ip"},
		Versions:   []api.Version{{Name: "v1", New: api.New[networkingv1.IPAddress](), NewList: api.New[networkingv1.IPAddressList]()}},
		Storage:    "v1",
		Prefix:     "ipaddresses",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                ipName,
			Validate:            api.Check(validateIPAddress),
			ValidateUpdate:      api.CheckChange(validateIPAddressUpdate),
			UnconditionalUpdate: true,
		},
		Columns: ipAddressColumns(),
		Fields:  func(o runtime.Object) fields.Set { return ipAddressFields(o.(*networkingv1.IPAddress)) },
	}
}

// ipName: the name is the address itself in canonical form.
func ipName(name string, prefix bool) []string {
	if prefix {
		return []string{"an IP address cannot be generated"}
	}
	ip, err := netip.ParseAddr(name)
	switch {
	case err != nil:
		return []string{"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"}
	case ip.String() != name:
		return []string{"must be a valid address in canonical form: " + ip.String()}
	}
	return nil
}
