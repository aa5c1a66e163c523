package core

import (
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"nau/internal/api"
	"nau/internal/api/column"
)

func nodeColumns() []api.Column {
	info := corev1.NodeSystemInfo{}.SwaggerDoc()
	address := func(kind corev1.NodeAddressType) func(*corev1.Node) string {
		return func(n *corev1.Node) string {
			for _, a := range n.Status.Addresses {
				if a.Type == kind {
					return column.OrNone(a.Address)
				}
			}
			return column.None
		}
	}
	return append([]api.Column{
		column.Name(),
		column.Text("Status", "The status of the node", nodeStatus),
		column.Text("Roles", "The roles of the node", nodeRoles),
		column.Age(),
		column.Text("Version", info["kubeletVersion"], func(n *corev1.Node) string { return n.Status.NodeInfo.KubeletVersion }),
	}, column.Wide(
		column.Text("Internal-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"], address(corev1.NodeInternalIP)),
		column.Text("External-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"], address(corev1.NodeExternalIP)),
		column.Text("OS-Image", info["osImage"], func(n *corev1.Node) string { return column.Or(n.Status.NodeInfo.OSImage, column.Unknown) }),
		column.Text("Kernel-Version", info["kernelVersion"], func(n *corev1.Node) string { return column.Or(n.Status.NodeInfo.KernelVersion, column.Unknown) }),
		column.Text("Container-Runtime", info["containerRuntimeVersion"], func(n *corev1.Node) string {
			return column.Or(n.Status.NodeInfo.ContainerRuntimeVersion, column.Unknown)
		}),
	)...)
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "NotReady"
			if c.Status == corev1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// nodeRoles reads node-role.kubernetes.io/ROLE and kubernetes.io/role=ROLE.
func nodeRoles(n *corev1.Node) string {
	roles := map[string]bool{}
	for k, v := range n.Labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok && role != "" {
			roles[role] = true
		}
		if k == "kubernetes.io/role" && v != "" {
			roles[v] = true
		}
	}
	list := column.Keys(roles)
	sort.Strings(list)
	return column.Join(list)
}

func nodeFields(n *corev1.Node) fields.Set {
	unschedulable := "false"
	if n.Spec.Unschedulable {
		unschedulable = "true"
	}
	return fields.Set{"spec.unschedulable": unschedulable}
}
