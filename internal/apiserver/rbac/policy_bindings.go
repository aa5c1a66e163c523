package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/apiserver/identity"
)

// NodeClient is the user that the API server speaks to node agents as.
const NodeClient = "kube-apiserver-kubelet-client"

var clusterBindings = []struct {
	name, role string
	subjects   []rbacv1.Subject
}{
	{"cluster-admin", "cluster-admin", []rbacv1.Subject{group(identity.Masters)}},
	{"system:basic-user", "system:basic-user", []rbacv1.Subject{group(identity.Authenticated)}},
	{"system:discovery", "system:discovery", []rbacv1.Subject{group(identity.Authenticated)}},
	{"system:kube-controller-manager", "system:kube-controller-manager", []rbacv1.Subject{user(identity.Controllers)}},
	{"system:kube-dns", "system:kube-dns", []rbacv1.Subject{account("kube-dns")}},
	{"system:kube-scheduler", "system:kube-scheduler", []rbacv1.Subject{user(identity.Scheduler)}},
	{"system:monitoring", "system:monitoring", []rbacv1.Subject{group(identity.Monitoring)}},
	{"system:node", "system:node", nil}, // the node authorizer answers for nodes
	{"system:node-proxier", "system:node-proxier", []rbacv1.Subject{user(identity.KubeProxy)}},
	{"system:public-info-viewer", "system:public-info-viewer", []rbacv1.Subject{group(identity.Authenticated), group(identity.Unauthenticated)}},
	{"system:service-account-issuer-discovery", "system:service-account-issuer-discovery", []rbacv1.Subject{group(identity.ServiceAccountsGroup)}},
	{"system:volume-scheduler", "system:volume-scheduler", []rbacv1.Subject{user(identity.Scheduler)}},

	{"nau:node-api-client", "system:kubelet-api-admin", []rbacv1.Subject{user(NodeClient)}},
}

// namespacedRole is a Role and the binding that gives it to its subjects.
type namespacedRole struct {
	namespace, name, boundAs string
	rules                    rules
	subjects                 []rbacv1.Subject
}

func (r namespacedRole) binding() string {
	if r.boundAs != "" {
		return r.boundAs
	}
	return r.name
}

var leaderElection = rules{on("coordination.k8s.io", "leases", lock), on("coordination.k8s.io", "leasecandidates", lock)}

var namespacedRoles = []namespacedRole{
	{metav1.NamespacePublic, "system:controller:bootstrap-signer", "", rules{
		on("core", "configmaps", read),
		on("core", "configmaps", "update", "cluster-info"),
		recordEvents,
	}, []rbacv1.Subject{account("bootstrap-signer")}},
	{metav1.NamespaceSystem, "extension-apiserver-authentication-reader", "system::extension-apiserver-authentication-reader", rules{
		on("core", "configmaps", read, "extension-apiserver-authentication"),
	}, []rbacv1.Subject{user(identity.Controllers), user(identity.Scheduler)}},
	{metav1.NamespaceSystem, "system::leader-locking-kube-controller-manager", "", leaderElection,
		[]rbacv1.Subject{user(identity.Controllers), account("kube-controller-manager"), account("leader-election-controller")}},
	{metav1.NamespaceSystem, "system::leader-locking-kube-scheduler", "", leaderElection,
		[]rbacv1.Subject{user(identity.Scheduler), account("kube-scheduler")}},
	{metav1.NamespaceSystem, "system:controller:bootstrap-signer", "", rules{
		on("core", "secrets", read),
	}, []rbacv1.Subject{account("bootstrap-signer")}},
	{metav1.NamespaceSystem, "system:controller:cloud-provider", "", rules{
		on("core", "configmaps", "create get list watch"),
	}, []rbacv1.Subject{account("cloud-provider")}},
	{metav1.NamespaceSystem, "system:controller:token-cleaner", "", rules{
		on("core", "secrets", "delete get list watch"),
		recordEvents,
	}, []rbacv1.Subject{account("token-cleaner")}},
}
