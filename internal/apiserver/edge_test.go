package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/authn"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
	"nau/internal/apiserver/wire"
	"nau/internal/house/spent"
)

func TestErrorsAreWhatClientsParse(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const pods, cms = "/api/v1/namespaces/ns/pods", "/api/v1/namespaces/ns/configmaps"
	c.do("POST", cms, `{"metadata":{"name":"a"}}`).want(201)

	c.do("POST", pods, `{"metadata":{"name":"p"},"spec":{"bogus":1,"containers":[{"name":"c","image":"i"}]}}`).want(201)
	got := c.do("POST", pods, `{"metadata":{"name":"q"},"spec":{"bogus":1,"hostname":"a","hostname":"b","containers":[{"name":"c","image":"i"}]}}`)
	if w := got.want(201).header.Values("Warning"); len(w) != 2 || !slices.Contains(w, `299 - "unknown field \"spec.bogus\""`) || !slices.Contains(w, `299 - "duplicate field \"spec.hostname\""`) {
		t.Errorf("warnings: %q", w)
	}
	c.do("POST", pods+"?fieldValidation=Strict", `{"metadata":{"name":"r"},"spec":{"bogus":1,"containers":[{"name":"c","image":"i"}]}}`).
		fails(400, metav1.StatusReasonBadRequest, `Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.bogus"`)
	if w := c.do("POST", pods+"?fieldValidation=Ignore", `{"metadata":{"name":"r"},"spec":{"bogus":1,"containers":[{"name":"c","image":"i"}]}}`).want(201).header.Values("Warning"); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
	c.do("POST", pods, `{"kind":"Service","apiVersion":"v1"}`).fails(400, metav1.StatusReasonBadRequest, `Service in version "v1" cannot be handled as a Pod`)
	c.do("POST", pods, `{"kind":"Pod","apiVersion":"v2"}`).fails(400, metav1.StatusReasonBadRequest, `the API version in the data (v2) does not match the expected API version (v1)`)
	c.do("POST", pods, `{`).fails(400, metav1.StatusReasonBadRequest, "cannot be handled as a Pod")
	c.do("POST", pods, `{"metadata":{"namespace":"other","name":"x"}}`).fails(400, metav1.StatusReasonBadRequest, "the namespace of the provided object does not match the namespace sent on the request")
	c.do("POST", pods, `{}`).fails(422, metav1.StatusReasonInvalid, "name or generateName is required")
	st := c.do("POST", pods, `{"metadata":{"name":"BAD"},"spec":{}}`).fails(422, metav1.StatusReasonInvalid, `Pod "BAD" is invalid`)
	if st.Details.Kind != "Pod" || len(st.Details.Causes) < 2 {
		t.Errorf("causes: %+v", st.Details)
	}
	c.do("POST", cms, "x", "Content-Type", "text/plain").fails(415, metav1.StatusReasonUnsupportedMediaType, "accepted media types include")
	c.do("PATCH", cms+"/a", "{}", "Content-Type", "text/plain").fails(415, metav1.StatusReasonUnsupportedMediaType, "application/json-patch+json")
	reviews := schema.GroupResource{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}
	c.Virtual = map[schema.GroupResource]Reviewer{reviews: func(_ context.Context, _ *identity.User, _ string, obj runtime.Object) (runtime.Object, error) {
		return obj, nil
	}}
	c.do("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`,
		"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").fails(406, metav1.StatusReasonNotAcceptable, "")
	c.do("GET", cms, nil, "Accept", "text/html").fails(406, metav1.StatusReasonNotAcceptable, "only the following media types are accepted")
	c.do("PUT", cms, "{}").fails(405, metav1.StatusReasonMethodNotAllowed, "")
	c.do("GET", "/api/v1/nothings", nil).want(404)
	c.do("PUT", cms+"/a", `{"metadata":{"name":"b"}}`).fails(400, metav1.StatusReasonBadRequest, "the name of the object (b) does not match the name on the URL (a)")
	c.do("PUT", cms+"/zz", `{"metadata":{"name":"zz"}}`).fails(404, metav1.StatusReasonNotFound, "")
	c.do("PUT", cms+"/a", `{"metadata":{"name":"a","uid":"other"}}`).fails(409, metav1.StatusReasonConflict, "Precondition failed: UID in precondition: other")
	c.do("GET", cms+"?resourceVersionMatch=Exact", nil).fails(422, metav1.StatusReasonInvalid, "resourceVersionMatch is forbidden unless resourceVersion is provided")
	c.do("GET", cms+"?limit=1&continue=zzz", nil).fails(400, metav1.StatusReasonBadRequest, "continue")
	c.do("GET", cms+"?labelSelector=a%3D%3D%3D", nil).fails(400, metav1.StatusReasonBadRequest, "")
	c.do("POST", cms+"?dryRun=Some", `{"metadata":{"name":"x"}}`).fails(422, metav1.StatusReasonInvalid, "dryRun")
	c.do("POST", cms, strings.Repeat(" ", 4<<20)+`{}`).fails(413, metav1.StatusReasonRequestEntityTooLarge, "")
	c.do("PATCH", cms+"/a", `[{"op":"test","path":"/data","value":1}]`, "Content-Type", "application/json-patch+json").fails(422, metav1.StatusReasonInvalid, "the server rejected our request due to an error in our request")
	c.do("PATCH", cms+"/a", `[`, "Content-Type", "application/json-patch+json").fails(400, metav1.StatusReasonBadRequest, "error decoding patch")
	c.do("GET", cms+"?resourceVersion=9999&timeout=20ms", nil).fails(504, metav1.StatusReasonTimeout, "")

	var cm corev1.ConfigMap
	c.do("POST", cms+"?dryRun=All", `{"metadata":{"name":"dry"}}`).want(201, &cm)
	if cm.UID == "" {
		t.Error("a dry run shows what would be")
	}
	c.do("GET", cms+"/dry", nil).want(404)
	c.do("POST", cms+"?dryRun=All", `{"metadata":{"name":"a"}}`).fails(409, metav1.StatusReasonAlreadyExists, "")
	c.do("PATCH", cms+"/a?dryRun=All", `{"data":{"x":"y"}}`, "Content-Type", "application/merge-patch+json").want(200, &cm)
	if cm.Data["x"] != "y" {
		t.Error("a dry run shows what would be")
	}
	c.do("GET", cms+"/a", nil).want(200, &cm)
	if len(cm.Data) != 0 {
		t.Error("a dry run wrote")
	}
}

func TestWhoMayWhat(t *testing.T) {
	c := newCluster(t, func(cfg *Config) {
		cfg.Authn = authn.Func(func(r *http.Request) (*identity.Response, bool, error) {
			switch n := r.Header.Get("X-User"); n {
			case "":
				return nil, false, nil
			case "admin":
				return &identity.Response{User: &identity.User{Name: n, Groups: []string{identity.Masters}}}, true, nil
			default:
				return &identity.Response{User: &identity.User{Name: n}}, true, nil
			}
		})
		cfg.Authz = authz.Masters{}
	})
	c.do("GET", "/api/v1/namespaces/y/pods", nil).fails(401, metav1.StatusReasonUnauthorized, "Unauthorized")
	st := c.do("GET", "/api/v1/namespaces/y/pods", nil, "X-User", "x").fails(403, metav1.StatusReasonForbidden, `pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y"`)
	if st.Details == nil || st.Details.Kind != "pods" {
		t.Errorf("details: %+v", st.Details)
	}
	c.do("GET", "/api/v1/namespaces/y/pods/z", nil, "X-User", "x").fails(403, metav1.StatusReasonForbidden, `pods "z" is forbidden: User "x" cannot get resource "pods" in API group "" in the namespace "y"`)
	c.do("GET", "/version", nil, "X-User", "x").fails(403, metav1.StatusReasonForbidden, `User "x" cannot get path "/version"`)
	c.do("GET", "/api/v1/namespaces/y/pods", nil, "X-User", "admin").want(200)
	c.do("GET", "/api/v1/namespaces/y/pods", nil, "X-User", "admin", "Impersonate-User", "x").fails(403, metav1.StatusReasonForbidden, `User "x" cannot list`)
}

func TestSigningRequestsNameTheirMaker(t *testing.T) {
	c := newCluster(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Username: "somebody", SignerName: "example.com/x", Usages: []certificatesv1.KeyUsage{"client auth"},
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}}
	c.do("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", csr).want(201, &csr)
	if csr.Spec.Username != "admin" || csr.Spec.Groups[0] != identity.Masters {
		t.Errorf("made by %+v", csr.Spec)
	}
}

func TestPages(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const cms = "/api/v1/namespaces/ns/configmaps"
	for i := range 7 {
		c.do("POST", cms, fmt.Sprintf(`{"metadata":{"name":"c%d"}}`, i)).want(201)
	}
	var names []string
	cont, rv := "", ""
	for page := 0; ; page++ {
		var list corev1.ConfigMapList
		c.do("GET", cms+"?limit=3&continue="+url.QueryEscape(cont), nil).want(200, &list)
		for _, x := range list.Items {
			names = append(names, x.Name)
		}
		if rv == "" {
			rv = list.ResourceVersion
			if list.RemainingItemCount == nil || *list.RemainingItemCount != 4 {
				t.Errorf("remaining: %v", list.RemainingItemCount)
			}
		}
		if list.ResourceVersion != rv {
			t.Errorf("a page of another revision: %s, %s", list.ResourceVersion, rv)
		}
		if page == 0 {
			c.do("DELETE", cms+"/c5", nil).want(200)
		}
		if cont = list.Continue; cont == "" {
			break
		}
	}
	if strings.Join(names, "") != "c0c1c2c3c4c5c6" {
		t.Errorf("pages: %v", names)
	}
}

func TestForms(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	c.do("POST", "/api/v1/namespaces/ns/pods", podBody).want(201)
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	var tab metav1.Table
	c.do("GET", "/api/v1/pods", nil, "Accept", table).want(200, &tab)
	if tab.Kind != "Table" || len(tab.Rows) != 1 || tab.ColumnDefinitions[0].Name != "Name" || tab.Rows[0].Cells[0] != "web" || tab.ResourceVersion == "" {
		t.Errorf("table: %+v", tab)
	}
	if !strings.Contains(string(tab.Rows[0].Object.Raw), `"kind":"PartialObjectMetadata"`) {
		t.Errorf("row: %s", tab.Rows[0].Object.Raw)
	}
	y := c.do("GET", "/api/v1/namespaces/ns/pods/web", nil, "Accept", "application/yaml").want(200)
	if !strings.HasPrefix(string(y.body), "apiVersion: v1\nkind: Pod\n") || y.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("yaml: %s", y.body)
	}
	p := c.do("GET", "/api/v1/namespaces/ns/pods/web?pretty=true", nil).want(200)
	if !strings.HasPrefix(string(p.body), "{\n  \"kind\": \"Pod\"") {
		t.Errorf("pretty: %s", p.body)
	}
	c.do("POST", "/api/v1/namespaces/ns/configmaps", "metadata: {name: fromyaml}\ndata: {a: b}", "Content-Type", "application/yaml").want(201)
}

func TestSubresourcesOfItsOwnShape(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const path = "/apis/apps/v1/namespaces/ns/deployments"
	c.do("POST", path, `{"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`).want(201)
	var sc autoscalingv1.Scale
	c.do("GET", path+"/d/scale", nil).want(200, &sc)
	if sc.Kind != "Scale" || sc.APIVersion != "autoscaling/v1" || sc.Spec.Replicas != 2 || sc.Status.Selector != "a=b" {
		t.Fatalf("%+v", sc)
	}
	sc.Spec.Replicas = 5
	c.do("PUT", path+"/d/scale", sc).want(200, &sc)
	c.do("PATCH", path+"/d/scale", `{"spec":{"replicas":6}}`, "Content-Type", "application/merge-patch+json").want(200, &sc)
	c.do("PATCH", path+"/d/scale", `{"spec":{"replicas":-6}}`, "Content-Type", "application/merge-patch+json").fails(422, metav1.StatusReasonInvalid, "must be greater than or equal to 0")
	var d appsv1.Deployment
	c.do("GET", path+"/d", nil).want(200, &d)
	if *d.Spec.Replicas != 6 || d.Generation != 3 {
		t.Fatalf("%d replicas, generation %d", *d.Spec.Replicas, d.Generation)
	}
	d.Status.Replicas, d.Spec.Paused = 6, true
	c.do("PUT", path+"/d/status", d).want(200, &d)
	if d.Status.Replicas != 6 || d.Spec.Paused || d.Generation != 3 {
		t.Fatalf("a status write is for the status: %+v", d)
	}
	d.Status.Replicas = 9
	c.do("PUT", path+"/d", d).want(200, &d)
	if d.Status.Replicas != 6 {
		t.Fatal("a main write is not for the status")
	}

	c.do("POST", "/api/v1/namespaces/ns/events", `{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"p","namespace":"ns"},"reason":"R","message":"M","type":"Normal"}`).want(201)
	var ev eventsv1.EventList
	c.do("GET", "/apis/events.k8s.io/v1/namespaces/ns/events?fieldSelector=regarding.name=p", nil).want(200, &ev)
	if len(ev.Items) != 1 || ev.Items[0].Note != "M" || ev.Items[0].Regarding.Name != "p" {
		t.Fatalf("%+v", ev)
	}
}

func TestEvictionAsksTheBudget(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	c.do("POST", "/api/v1/namespaces/ns/pods", podBody).want(201)
	c.do("PATCH", "/api/v1/namespaces/ns/pods/web/status", `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, "Content-Type", "application/merge-patch+json").want(200)
	c.do("POST", "/apis/policy/v1/namespaces/ns/poddisruptionbudgets", `{"metadata":{"name":"b"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"web"}}}}`).want(201)
	const ev = `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"web"}}`
	st := c.do("POST", "/api/v1/namespaces/ns/pods/web/eviction", ev).fails(429, metav1.StatusReasonTooManyRequests, "Cannot evict pod as it would violate the pod's disruption budget.")
	if len(st.Details.Causes) != 1 || st.Details.Causes[0].Type != "DisruptionBudget" {
		t.Errorf("%+v", st.Details)
	}
	c.do("PATCH", "/apis/policy/v1/namespaces/ns/poddisruptionbudgets/b/status", `{"status":{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}}`, "Content-Type", "application/merge-patch+json").want(200)
	c.do("POST", "/api/v1/namespaces/ns/pods/web/eviction", ev).want(201)
	c.do("GET", "/api/v1/namespaces/ns/pods/web", nil).want(404)
}

func TestSelfDescription(t *testing.T) {
	c := newCluster(t)
	var groups metav1.APIGroupList
	c.do("GET", "/apis", nil).want(200, &groups)
	if groups.Kind != "APIGroupList" || len(groups.Groups) < 15 {
		t.Errorf("%d groups", len(groups.Groups))
	}
	for _, path := range []string{"/", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/livez", "/readyz?verbose", "/healthz", "/livez/etcd", "/metrics", "/openapi/v3", "/openapi/v3/apis/apps/v1", "/openapi/v3/api/v1"} {
		c.do("GET", path, nil).want(200)
	}
	agg := c.do("GET", "/apis", nil, "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json").want(200)
	if agg.header.Get("Content-Type") != "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" {
		t.Errorf("type %s", agg.header.Get("Content-Type"))
	}
	c.do("GET", "/apis", nil, "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "If-None-Match", agg.header.Get("Etag")).want(304)
	var doc struct {
		Components struct{ Schemas map[string]json.RawMessage }
		Paths      map[string]json.RawMessage
	}
	c.do("GET", "/openapi/v3/apis/apps/v1", nil).want(200, &doc)
	if doc.Components.Schemas["io.k8s.api.apps.v1.Deployment"] == nil || doc.Paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"] == nil {
		t.Error("the document lacks deployments")
	}
	for name := range doc.Components.Schemas {
		for _, ref := range strings.Split(string(doc.Components.Schemas[name]), `"$ref":"#/components/schemas/`)[1:] {
			ref, _, _ = strings.Cut(ref, `"`)
			if doc.Components.Schemas[ref] == nil {
				t.Errorf("%s refers to %s, which is not there", name, ref)
			}
		}
	}
}

// What may stand in a field is told where the API enumerates it: `kubectl explain` shows it.
func TestEnumerationsAreTold(t *testing.T) {
	c := newCluster(t)
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Enum  []string
					Items struct{ Enum []string }
				}
			}
		}
	}
	c.do("GET", "/openapi/v3/api/v1", nil).want(200, &doc)
	for field, want := range map[string]string{
		"PodSpec.restartPolicy":                 "Always Never OnFailure",
		"PodSpec.dnsPolicy":                     "ClusterFirst ClusterFirstWithHostNet Default None",
		"ContainerPort.protocol":                "SCTP TCP UDP",
		"Container.imagePullPolicy":             "Always IfNotPresent Never",
		"Taint.effect":                          "NoExecute NoSchedule PreferNoSchedule",
		"PersistentVolumeClaimSpec.accessModes": "ReadOnlyMany ReadWriteMany ReadWriteOnce ReadWriteOncePod",
		"PodSpec.nodeName":                      "",
		"LabelSelectorRequirement.operator":     "",
	} {
		kind, name, _ := strings.Cut(field, ".")
		p := doc.Components.Schemas["io.k8s.api.core.v1."+kind].Properties[name]
		if got := strings.Join(append(p.Enum, p.Items.Enum...), " "); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}

func FuzzLocate(f *testing.F) {
	for _, p := range []string{"/api/v1/pods", "/apis/apps/v1/namespaces/a/deployments/b/scale", "/api/v1/watch/pods", "/api/v1/namespaces/x/finalize", "/apis//", "/api/v1/namespaces/a/pods/b/proxy/c/d?x=y", "//"} {
		f.Add("GET", p)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.Parse(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return // no path
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL = method, u
		info := locate(r, u.Query)
		if info.IsResource && info.Version == "" && info.Resource != "" {
			t.Errorf("%q: %+v", path, info)
		}
	})
}

func FuzzNegotiate(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.5,*/*")
	f.Fuzz(func(t *testing.T, header string) { wire.Negotiate(header, transformable) })
}

// Whatever a client sends, the answer is not a 5xx.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{podBody, "{}", "[]", "null", `{"metadata":null}`, "k8s\x00\x0a\x00", "a: b", `{"metadata":{"name":"x","labels":{"a":1}}}`, `[{"op":"add","path":"/metadata/labels","value":[]}]`,
		`{"spec":{"containers":[{"$patch":"replace"}]}}`, `{"spec":{"$setElementOrder/containers":[{"name":"x"}]}}`} {
		for i := range 7 {
			f.Add(i, s)
		}
	}
	c := newCluster(f)
	c.do("POST", "/api/v1/namespaces", `{"metadata":{"name":"ns"}}`).want(201)
	c.do("POST", "/api/v1/namespaces/ns/pods", podBody).want(201)
	types := []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf",
		"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
	f.Fuzz(func(t *testing.T, kind int, body string) {
		kind = int(uint(kind) % uint(len(types)))
		c.t = t
		method, path := "POST", "/api/v1/namespaces/ns/pods?dryRun=All"
		if kind > 2 {
			method, path = "PATCH", "/api/v1/namespaces/ns/pods/web?dryRun=All&fieldManager=f"
		}
		spent.On(t, len(body), func() {
			if r := c.do(method, path, body, "Content-Type", types[kind]); r.code >= 500 {
				t.Errorf("%s %s: %d %s", types[kind], body, r.code, r.body)
			}
		})
	})
}

// Whatever a client selects by, the answer is a list or a 400.
func FuzzSelectors(f *testing.F) {
	for _, s := range []string{"a", "!a", "a=b", "a==b,c!=d", "a in (b,c)", "a notin (b),!c", "a>1,b<2", "metadata.name=web", "spec.nodeName!=,status.phase=Running"} {
		f.Add(s, s)
	}
	c := newCluster(f)
	c.do("POST", "/api/v1/namespaces", `{"metadata":{"name":"ns"}}`).want(201)
	c.do("POST", "/api/v1/namespaces/ns/pods", podBody).want(201)
	f.Fuzz(func(t *testing.T, label, field string) {
		c.t = t
		q := url.Values{"labelSelector": {label}, "fieldSelector": {field}}.Encode()
		spent.On(t, len(q), func() {
			if r := c.do("GET", "/api/v1/namespaces/ns/pods?"+q, nil); r.code != 200 && r.code != 400 {
				t.Errorf("%q %q: %d %s", label, field, r.code, r.body)
			}
		})
	})
}

// What a write says of metadata that only the server sets, and of kinds in a patch.
func TestMetadataOfTheServer(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const cms, strategic = "/api/v1/namespaces/ns/configmaps", "application/strategic-merge-patch+json"
	c.do("POST", cms, `{"metadata":{"name":"a","labels":{"x":"y"}}}`).want(201)
	immutable := func(body, field string) {
		t.Helper()
		c.do("PATCH", cms+"/a", body, "Content-Type", strategic).fails(422, metav1.StatusReasonInvalid, "metadata."+field+": Invalid value")
	}
	immutable(`{"metadata":{"deletionTimestamp":"2020-01-01T00:00:00Z"}}`, "deletionTimestamp")
	immutable(`{"metadata":{"deletionGracePeriodSeconds":5}}`, "deletionGracePeriodSeconds")
	immutable(`{"metadata":{"finalizers":["nope"]}}`, "finalizers[0]")
	c.do("POST", cms, `{"metadata":{"name":"b","finalizers":["nope"]}}`).fails(422, metav1.StatusReasonInvalid, "name is neither a standard finalizer name nor is it fully qualified")
	c.do("POST", "/apis/coordination.k8s.io/v1/namespaces/ns/leases", `{"metadata":{"name":"b","finalizers":["nope"]}}`).want(201)

	var before, after corev1.ConfigMap
	c.do("GET", cms+"/a", nil).want(200, &before)
	for _, body := range []string{`{"metadata":{"creationTimestamp":"2020-01-01T00:00:00Z"}}`, `{"kind":"Secret","apiVersion":"v9"}`, "null"} {
		c.do("PATCH", cms+"/a", body, "Content-Type", strategic).want(200, &after)
		if !after.CreationTimestamp.Equal(&before.CreationTimestamp) || after.ResourceVersion != before.ResourceVersion {
			t.Errorf("%s changed something: %+v", body, after.ObjectMeta)
		}
	}
	c.do("PATCH", cms+"/a", `{"metadata":{"labels":{"$patch":"replace","z":"z"}}}`, "Content-Type", strategic).want(200, &after)
	if len(after.Labels) != 1 || after.Labels["z"] != "z" {
		t.Errorf("labels after their replacement: %v", after.Labels)
	}
	// A deletion that waits for a finalizer is not changed by an update.
	c.do("PATCH", cms+"/a", `{"metadata":{"finalizers":["x/y"]}}`, "Content-Type", strategic).want(200)
	c.do("DELETE", cms+"/a", nil).want(200)
	c.do("GET", cms+"/a", nil).want(200, &before)
	c.do("PATCH", cms+"/a", `{"metadata":{"deletionTimestamp":"2020-01-01T00:00:00Z"}}`, "Content-Type", strategic).want(200, &after)
	if !after.DeletionTimestamp.Equal(before.DeletionTimestamp) {
		t.Errorf("the deletion's time is %v, was %v", after.DeletionTimestamp, before.DeletionTimestamp)
	}
	for _, query := range []string{"", "?dryRun=All"} {
		if st := c.do("POST", cms+query, `{"metadata":{"name":"a"}}`).fails(409, metav1.StatusReasonAlreadyExists, `configmaps "a" already exists`); st.Message != `object is being deleted: configmaps "a" already exists` {
			t.Errorf("%q: %s", query, st.Message)
		}
	}
}
