package rbac

// userRoles are for people and for whoever is let in at all: the three that are meant to be bound in namespaces gather others by
// label, so that extensions can add to them.
var userRoles = []clusterRole{
	{name: "cluster-admin", rules: rules{
		on("*", "*", "*"),
		paths("*", "*"),
	}},
	{name: "admin", gathers: "admin"},
	{name: "edit", addsTo: "admin", gathers: "edit"},
	{name: "view", addsTo: "edit", gathers: "view"},
	{name: "system:aggregate-to-admin", addsTo: "admin", rules: rules{
		on("authorization.k8s.io", "localsubjectaccessreviews", "create"),
		on("rbac.authorization.k8s.io", "rolebindings roles", readWrite),
	}},
	{name: "system:aggregate-to-edit", addsTo: "edit", rules: rules{
		on("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", read),
		on("core", "serviceaccounts", "impersonate"),
		on("core", "pods pods/attach pods/exec pods/portforward pods/proxy", write),
		on("core", "pods/eviction", "create"),
		on("core", "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy", write),
		on("core", "serviceaccounts/token", "create"),
		on("core events.k8s.io", "events", write),
		on("apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale", write),
		on("autoscaling", "horizontalpodautoscalers", write),
		on("batch", "cronjobs jobs", write),
		on("extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale", write),
		on("policy", "poddisruptionbudgets", write),
		on("networking.k8s.io", "ingresses networkpolicies", write),
		on("coordination.k8s.io", "leases", readWrite),
		on("resource.k8s.io", "resourceclaims resourceclaimtemplates", write),
	}},
	{name: "system:aggregate-to-view", addsTo: "view", rules: rules{
		on("core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status", read),
		on("core", "bindings limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status", read),
		on("core", "namespaces", read),
		on("core events.k8s.io", "events", read),
		on("discovery.k8s.io", "endpointslices", read),
		on("apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status", read),
		on("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", read),
		on("batch", "cronjobs cronjobs/status jobs jobs/status", read),
		on("extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale", read),
		on("policy", "poddisruptionbudgets poddisruptionbudgets/status", read),
		on("networking.k8s.io", "ingresses ingresses/status networkpolicies", read),
		on("resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates", read),
	}},
	{name: "system:auth-delegator", rules: rules{
		on("authentication.k8s.io", "tokenreviews", "create"),
		on("authorization.k8s.io", "subjectaccessreviews", "create"),
	}},
	{name: "system:basic-user", rules: rules{
		on("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
		on("authentication.k8s.io", "selfsubjectreviews", "create"),
	}},
	{name: "system:discovery", rules: rules{
		paths("/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/", "get"),
	}},
	{name: "system:public-info-viewer", rules: rules{
		paths("/healthz /livez /readyz /version /version/", "get"),
	}},
	{name: "system:service-account-issuer-discovery", rules: rules{
		paths("/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/", "get"),
	}},
	{name: "system:monitoring", rules: rules{
		paths("/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz", "get"),
		on("core", "nodes/metrics", "get"),
	}},
}
