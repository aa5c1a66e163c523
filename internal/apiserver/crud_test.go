package apiserver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (c *cluster) namespace(name string) {
	c.t.Helper()
	c.do("POST", "/api/v1/namespaces", `{"metadata":{"name":"`+name+`"}}`).want(201)
}

const podBody = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"i"}]}}`

func TestLifeOfAnObject(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const pods = "/api/v1/namespaces/ns/pods"

	var pod corev1.Pod
	c.do("POST", pods, podBody).want(201, &pod)
	if pod.UID == "" || pod.CreationTimestamp.IsZero() || pod.ResourceVersion == "" || pod.Kind != "Pod" || pod.APIVersion != "v1" || pod.Namespace != "ns" {
		t.Fatalf("created: %+v", pod)
	}
	if pod.Status.Phase != corev1.PodPending || pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Fatalf("not defaulted: %+v", pod)
	}
	if len(pod.ManagedFields) != 1 || pod.ManagedFields[0].Manager != "tester" || pod.ManagedFields[0].Operation != metav1.ManagedFieldsOperationUpdate {
		t.Fatalf("managed fields: %+v", pod.ManagedFields)
	}
	c.do("POST", pods, podBody).fails(409, metav1.StatusReasonAlreadyExists, `pods "web" already exists`)
	c.do("GET", pods+"/nope", nil).fails(404, metav1.StatusReasonNotFound, `pods "nope" not found`)

	var list corev1.PodList
	c.do("GET", pods, nil).want(200, &list)
	if len(list.Items) != 1 || list.Kind != "PodList" || list.Items[0].Kind != "" || list.ResourceVersion == "" {
		t.Fatalf("list: %+v", list)
	}
	c.do("GET", "/api/v1/pods?fieldSelector=spec.foo=1", nil).fails(400, metav1.StatusReasonBadRequest, "field label not supported: spec.foo")
	c.do("GET", pods+"?labelSelector=app=other", nil).want(200, &list)
	if len(list.Items) != 0 {
		t.Fatalf("selected: %+v", list)
	}

	pod.Labels["more"] = "1"
	var updated corev1.Pod
	c.do("PUT", pods+"/web", pod).want(200, &updated)
	if updated.ResourceVersion == pod.ResourceVersion || updated.Labels["more"] != "1" {
		t.Fatalf("updated: %+v", updated)
	}
	c.do("PUT", pods+"/web", pod).fails(409, metav1.StatusReasonConflict, `Operation cannot be fulfilled on pods "web": the object has been modified; please apply your changes to the latest version and try again`)
	var same corev1.Pod
	c.do("PUT", pods+"/web", updated).want(200, &same)
	if same.ResourceVersion != updated.ResourceVersion {
		t.Fatal("an update that changes nothing must not write")
	}

	for kind, patch := range map[string]string{
		"application/json-patch+json":            `[{"op":"add","path":"/metadata/labels/j","value":"1"}]`,
		"application/merge-patch+json":           `{"metadata":{"labels":{"m":"1"}}}`,
		"application/strategic-merge-patch+json": `{"metadata":{"labels":{"s":"1"}}}`,
	} {
		c.do("PATCH", pods+"/web", patch, "Content-Type", kind).want(200, &pod)
	}
	if pod.Labels["j"]+pod.Labels["m"]+pod.Labels["s"] != "111" {
		t.Fatalf("patched: %v", pod.Labels)
	}

	// Graceful deletion: a pod on a node stays until its grace period is over.
	c.do("POST", pods+"/web/binding", `{"target":{"kind":"Node","name":"n1"}}`).want(201)
	c.do("DELETE", pods+"/web", nil).want(200, &pod)
	if pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != 30 || pod.Spec.NodeName != "n1" {
		t.Fatalf("deleting: %+v", pod.ObjectMeta)
	}
	c.do("DELETE", pods+"/web?gracePeriodSeconds=0", nil).want(200)
	c.do("GET", pods+"/web", nil).want(404)
}

func TestServerSideApply(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const cms = "/api/v1/namespaces/ns/configmaps"
	apply := func(manager, body, more string) reply {
		return c.do("PATCH", cms+"/a?fieldManager="+manager+more, body, "Content-Type", "application/apply-patch+yaml")
	}
	var cm corev1.ConfigMap
	apply("one", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1', y: '1'}}", "").want(201, &cm)
	apply("two", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {z: '1'}}", "").want(200, &cm)
	st := apply("two", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '2'}}", "").fails(409, metav1.StatusReasonConflict, `Apply failed with 1 conflict: conflict with "one": .data.x`)
	if st.Details == nil || st.Details.Causes[0].Type != metav1.CauseTypeFieldManagerConflict || st.Details.Causes[0].Field != ".data.x" {
		t.Fatalf("causes: %+v", st.Details)
	}
	apply("two", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '2'}}", "&force=true").want(200, &cm)
	apply("one", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {}}", "").want(200, &cm)
	if len(cm.Data) != 1 || cm.Data["x"] != "2" {
		t.Fatalf("data: %v", cm.Data)
	}
	before := cm.ResourceVersion
	apply("two", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '2'}}", "").want(200, &cm)
	if cm.ResourceVersion != before {
		t.Fatal("an apply that changes nothing must not write")
	}
	c.do("PATCH", cms+"/a", "{}", "Content-Type", "application/apply-patch+yaml").fails(422, metav1.StatusReasonInvalid, "is required for apply patch")
}
