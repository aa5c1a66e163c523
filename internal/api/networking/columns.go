package networking

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
)

func ingressColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Class", "The name of the IngressClass resource that should be used for additional configuration", func(in *networkingv1.Ingress) string {
			return column.OrNone(ptr.Deref(in.Spec.IngressClassName, in.Annotations[ingressClassAnnotation]))
		}),
		column.Text("Hosts", "Hosts that incoming requests are matched against before the ingress rule", ingressHosts),
		column.Text("Address", "Address is a list containing ingress points for the load-balancer", func(in *networkingv1.Ingress) string {
			var all []string
			for _, lb := range in.Status.LoadBalancer.Ingress {
				if lb.IP != "" {
					all = append(all, lb.IP)
				} else if lb.Hostname != "" {
					all = append(all, lb.Hostname)
				}
			}
			return strings.Join(all, ",")
		}),
		column.Text("Ports", "Ports of TLS configurations that open", func(in *networkingv1.Ingress) string {
			if len(in.Spec.TLS) > 0 {
				return "80, 443"
			}
			return "80"
		}),
		column.Age(),
	}
}

// ingressHosts lists the first three hosts and counts the rules beyond them.
func ingressHosts(in *networkingv1.Ingress) string {
	const most = 3
	var hosts []string
	more := false
	for _, r := range in.Spec.Rules {
		if len(hosts) == most {
			more = true
		} else if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	switch {
	case len(hosts) == 0:
		return "*"
	case more:
		return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), len(in.Spec.Rules)-most)
	}
	return strings.Join(hosts, ",")
}

func ingressClassColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Controller", "Controller that is responsible for handling this class", func(c *networkingv1.IngressClass) string { return c.Spec.Controller }),
		column.Text("Parameters", "A reference to a resource with additional parameters", func(c *networkingv1.IngressClass) string {
			r := c.Spec.Parameters
			if r == nil {
				return column.None
			}
			kind := r.Kind
			if g := ptr.Deref(r.APIGroup, ""); g != "" {
				kind += "." + g
			}
			return kind + "/" + r.Name
		}),
		column.Age(),
	}
}

func networkPolicyColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Pod-Selector", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"], func(n *networkingv1.NetworkPolicy) string { return column.Selector(&n.Spec.PodSelector) }),
		column.Age(),
	}
}

func ipAddressColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("ParentRef", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"], func(a *networkingv1.IPAddress) string {
			r := a.Spec.ParentRef
			if r == nil {
				return column.None
			}
			var parts []string
			for _, s := range []string{strings.ToLower(r.Resource), r.Namespace, r.Name} {
				if s != "" {
					parts = append(parts, s)
				}
			}
			where := strings.Join(parts, "/")
			if r.Group != "" {
				where = strings.Replace(where, strings.ToLower(r.Resource), strings.ToLower(r.Resource)+"."+r.Group, 1)
			}
			return where
		}),
	}
}

func serviceCIDRColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("CIDRs", networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"], func(c *networkingv1.ServiceCIDR) string { return column.Join(c.Spec.CIDRs) }),
		column.Age(),
	}
}

func ipAddressFields(a *networkingv1.IPAddress) fields.Set {
	set := fields.Set{}
	for _, k := range []string{"group", "resource", "namespace", "name"} {
		set["spec.parentRef."+k] = ""
	}
	if r := a.Spec.ParentRef; r != nil {
		set["spec.parentRef.group"], set["spec.parentRef.resource"] = r.Group, r.Resource
		set["spec.parentRef.namespace"], set["spec.parentRef.name"] = r.Namespace, r.Name
	}
	return set
}
