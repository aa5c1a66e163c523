//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nau/internal/cluster/pki"
	"nau/test/e2e/harness"
)

// Who may what, over HTTP with credentials of their own. In a cell, y is any answer that is not a refusal, - is 403, and u is 401.
// Nothing is allowed that is not told here to be: a row that is missing is a hole in the test, not a right.
//
// anon has no credential, none is an account without a role, pod is what a pod of red has (its default account), nodeA runs the
// pod victim and nodeB does not, view, edit and admin hold the roles of these names in red, root is cluster-admin, boot has a
// bootstrap token that nobody has bound to anything, imp may impersonate eve and nobody else.
const tenancy = `
                                      anon none pod nodeA nodeB view edit admin root boot imp
read the version                      y    y    y   y     y     y    y    y     y    y    y
read health                           y    y    y   y     y     y    y    y     y    y    y
read discovery                        -    y    y   y     y     y    y    y     y    y    y
read metrics                          -    -    -   -     -     -    -    -     y    -    -
read the nodes' logs                  -    -    -   -     -     -    -    -     y    -    -
ask what I may                        -    y    y   y     y     y    y    y     y    y    y
ask what others may                   -    -    -   y     y     -    -    -     y    -    -
review a token                        -    -    -   y     y     -    -    -     y    -    -

list pods                             -    -    -   -     -     y    y    y     y    -    -
list pods of node-1                   -    -    -   y     -     y    y    y     y    -    -
read the pod                          -    -    -   y     -     y    y    y     y    -    -
create a pod                          -    -    -   -     -     -    y    y     y    -    -
delete the pod                        -    -    -   y     -     -    y    y     y    -    -
evict the pod                         -    -    -   y     -     -    y    y     y    -    -
bind a pod                            -    -    -   -     -     -    -    -     y    -    -
write the pod's status                -    -    -   y     -     -    -    -     y    -    -
exec in the pod                       -    -    -   -     -     -    y    y     y    -    -
read the pod's log                    -    -    -   -     -     y    y    y     y    -    -
forward the pod's port                -    -    -   -     -     -    y    y     y    -    -
proxy to the pod                      -    -    -   -     -     -    y    y     y    -    -

read the pod's secret                 -    -    -   y     -     -    y    y     y    -    -
read another secret                   -    -    -   -     -     -    y    y     y    -    -
list secrets                          -    -    -   -     -     -    y    y     y    -    -
watch secrets                         -    -    -   -     -     -    y    y     y    -    -
list secrets of kube-system           -    -    -   -     -     -    -    -     y    -    -
list all secrets                      -    -    -   -     -     -    -    -     y    -    -
list pods of blue                     -    -    -   -     -     -    -    -     y    -    -
create a config map in blue           -    -    -   -     -     -    -    -     y    -    -

a token of any account                -    -    -   -     -     -    y    y     y    -    -
a token for the pod                   -    -    -   y     -     -    y    y     y    -    -
a token in kube-system                -    -    -   -     -     -    -    -     y    -    -

read node-1                           -    -    -   y     -     -    -    -     y    -    -
list nodes                            -    -    -   -     -     -    -    -     y    -    -
write node-1's status                 -    -    -   y     -     -    -    -     y    -    -
taint node-1                          -    -    -   -     -     -    -    -     y    -    -
label node-1 as restricted            -    -    -   -     -     -    -    -     y    -    -
delete node-1                         -    -    -   -     -     -    -    -     y    -    -
proxy to node-1                       -    -    -   -     -     -    -    -     y    -    -
write node-1's lease                  -    -    -   y     -     -    -    -     y    -    -
ask for node-b's certificate          -    -    -   -     y     -    -    -     y    -    -
ask for another node's certificate    -    -    -   -     -     -    -    -     y    -    -
approve a certificate                 -    -    -   -     -     -    -    -     y    -    -

create a role of what admins hold     -    -    -   -     -     -    -    y     y    -    -
create a role of more                 -    -    -   -     -     -    -    -     y    -    -
bind the view role                    -    -    -   -     -     -    -    y     y    -    -
bind cluster-admin                    -    -    -   -     -     -    -    -     y    -    -
bind in the cluster                   -    -    -   -     -     -    -    -     y    -    -
create a cluster role                 -    -    -   -     -     -    -    -     y    -    -
create a quota                        -    -    -   -     -     -    -    -     y    -    -
create an endpoint slice              -    -    -   -     -     -    -    -     y    -    -
delete the namespace                  -    -    -   -     -     -    -    -     y    -    -
register a webhook                    -    -    -   -     -     -    -    -     y    -    -
define a kind                         -    -    -   -     -     -    -    -     y    -    -

be eve                                -    -    -   -     -     -    -    -     y    -    y
be mallory                            -    -    -   -     -     -    -    -     y    -    -
be a master                           -    -    -   -     -     -    -    -     y    -    -
be node-1                             -    -    -   -     -     -    -    -     y    -    -
be red's default account              -    -    -   -     -     -    y    y     y    -    -
`

// deed is one request; those that write are dry runs.
type deed struct {
	method, path, body string
	headers            []string // in pairs
}

const (
	inRed = "/api/v1/namespaces/red"
	rbac  = "/apis/rbac.authorization.k8s.io/v1"
	dry   = "?dryRun=All"
	merge = "application/merge-patch+json"
)

func deeds(podUID string, csr func(node string) string) map[string]deed {
	get := func(path string, headers ...string) deed { return deed{"GET", path, "", headers} }
	post := func(path, body string) deed { return deed{"POST", path + dry, body, nil} }
	patch := func(path, body string) deed { return deed{"PATCH", path + dry, body, []string{"Content-Type", merge}} }
	binding := func(role string) string {
		return `{"metadata":{"name":"b"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"` + role + `"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"eve"}]}`
	}
	role := func(resource string) string {
		return `{"metadata":{"name":"r"},"rules":[{"apiGroups":[""],"resources":["` + resource + `"],"verbs":["get"]}]}`
	}
	const pod = `{"metadata":{"name":"new"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	return map[string]deed{
		"read the version":     get("/version"),
		"read health":          get("/readyz"),
		"read discovery":       get("/apis"),
		"read metrics":         get("/metrics"),
		"read the nodes' logs": get("/logs/"),
		"ask what I may":       {"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`, nil},
		"ask what others may":  {"POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"user":"eve","nonResourceAttributes":{"path":"/","verb":"get"}}}`, nil},
		"review a token":       {"POST", "/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"x"}}`, nil},

		"list pods":              get(inRed + "/pods"),
		"list pods of node-1":    get(inRed + "/pods?fieldSelector=spec.nodeName%3Dnode-1"),
		"read the pod":           get(inRed + "/pods/victim"),
		"create a pod":           post(inRed+"/pods", pod),
		"delete the pod":         {"DELETE", inRed + "/pods/victim" + dry, "", nil},
		"evict the pod":          post(inRed+"/pods/victim/eviction", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"victim","namespace":"red"},"deleteOptions":{"dryRun":["All"]}}`),
		"bind a pod":             post(inRed+"/pods/victim/binding", `{"metadata":{"name":"victim"},"target":{"kind":"Node","name":"node-1"}}`),
		"write the pod's status": patch(inRed+"/pods/victim/status", `{"status":{"message":"x"}}`),
		"exec in the pod":        {"POST", inRed + "/pods/victim/exec?command=true&stdout=true", "", nil},
		"read the pod's log":     get(inRed + "/pods/victim/log"),
		"forward the pod's port": {"POST", inRed + "/pods/victim/portforward?ports=80", "", nil},
		"proxy to the pod":       get(inRed + "/pods/victim:1/proxy/"),

		"read the pod's secret":       get(inRed + "/secrets/mounted"),
		"read another secret":         get(inRed + "/secrets/other"),
		"list secrets":                get(inRed + "/secrets"),
		"watch secrets":               get(inRed + "/secrets?watch=true&timeoutSeconds=1&resourceVersion=0"),
		"list secrets of kube-system": get("/api/v1/namespaces/kube-system/secrets"),
		"list all secrets":            get("/api/v1/secrets"),
		"list pods of blue":           get("/api/v1/namespaces/blue/pods"),
		"create a config map in blue": post("/api/v1/namespaces/blue/configmaps", `{"metadata":{"name":"c"}}`),

		"a token of any account": post(inRed+"/serviceaccounts/default/token", `{"spec":{"audiences":[]}}`),
		"a token for the pod":    post(inRed+"/serviceaccounts/default/token", `{"spec":{"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"victim","uid":"`+podUID+`"}}}`),
		"a token in kube-system": post("/api/v1/namespaces/kube-system/serviceaccounts/default/token", `{"spec":{}}`),

		"read node-1":                        get("/api/v1/nodes/node-1"),
		"list nodes":                         get("/api/v1/nodes"),
		"write node-1's status":              patch("/api/v1/nodes/node-1/status", `{"status":{"phase":"Running"}}`),
		"taint node-1":                       patch("/api/v1/nodes/node-1", `{"spec":{"taints":[{"key":"a","value":"b","effect":"NoSchedule"}]}}`),
		"label node-1 as restricted":         patch("/api/v1/nodes/node-1", `{"metadata":{"labels":{"node-restriction.kubernetes.io/x":"y"}}}`),
		"delete node-1":                      {"DELETE", "/api/v1/nodes/node-1" + dry, "", nil},
		"proxy to node-1":                    get("/api/v1/nodes/node-1/proxy/healthz"),
		"write node-1's lease":               patch("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1", `{"spec":{"leaseDurationSeconds":40}}`),
		"ask for node-b's certificate":       post("/apis/certificates.k8s.io/v1/certificatesigningrequests", csr("node-b")),
		"ask for another node's certificate": post("/apis/certificates.k8s.io/v1/certificatesigningrequests", csr("another")),
		"approve a certificate":              patch("/apis/certificates.k8s.io/v1/certificatesigningrequests/asked/approval", `{"metadata":{"labels":{"x":"y"}}}`),

		"create a role of what admins hold": post(rbac+"/namespaces/red/roles", role("configmaps")),
		"create a role of more":             post(rbac+"/namespaces/red/roles", role("nodes/proxy")),
		"bind the view role":                post(rbac+"/namespaces/red/rolebindings", binding("view")),
		"bind cluster-admin":                post(rbac+"/namespaces/red/rolebindings", binding("cluster-admin")),
		"bind in the cluster":               post(rbac+"/clusterrolebindings", binding("view")),
		"create a cluster role":             post(rbac+"/clusterroles", role("configmaps")),
		"create a quota":                    post(inRed+"/resourcequotas", `{"metadata":{"name":"q"},"spec":{"hard":{"pods":"1000"}}}`),
		"create an endpoint slice":          post("/apis/discovery.k8s.io/v1/namespaces/red/endpointslices", `{"metadata":{"name":"e"},"addressType":"IPv4","endpoints":[]}`),
		"delete the namespace":              {"DELETE", inRed + dry, "", nil},
		"register a webhook":                post("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", `{"metadata":{"name":"w"}}`),
		"define a kind":                     post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", `{"metadata":{"name":"ships.example.com"},"spec":{"group":"example.com","names":{"plural":"ships","kind":"Ship"},"scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`),

		"be eve":                   get("/version", "Impersonate-User", "eve"),
		"be mallory":               get("/version", "Impersonate-User", "mallory"),
		"be a master":              get("/version", "Impersonate-User", "eve", "Impersonate-Group", "system:masters"),
		"be node-1":                get("/version", "Impersonate-User", "system:node:node-1", "Impersonate-Group", "system:nodes"),
		"be red's default account": get("/version", "Impersonate-User", "system:serviceaccount:red:default"),
	}
}

// somebody is one who asks.
type somebody struct {
	client *http.Client
	token  string
}

func (s *somebody) does(d deed) (int, string) {
	r, err := http.NewRequest(d.method, "https://"+apiAddress+d.path, strings.NewReader(d.body))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(d.headers); i += 2 {
		r.Header.Set(d.headers[i], d.headers[i+1])
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := s.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func TestTenancy(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	for _, args := range [][]string{
		{"create", "namespace", "red"}, {"create", "namespace", "blue"},
		{"-n", "red", "create", "secret", "generic", "mounted", "--from-literal=a=b"},
		{"-n", "red", "create", "secret", "generic", "other", "--from-literal=a=b"},
		{"create", "clusterrole", "imp", "--verb=impersonate", "--resource=users", "--resource-name=eve"},
		{"-n", "kube-system", "create", "secret", "generic", "bootstrap-token-abcdef", "--type=bootstrap.kubernetes.io/token", "--from-literal=token-id=abcdef",
			"--from-literal=token-secret=0123456789abcdef", "--from-literal=usage-bootstrap-authentication=true"},
	} {
		m.Kubectl(args...)
	}
	for _, role := range []string{"none", "view", "edit", "admin", "root", "imp"} {
		m.Kubectl("-n", "red", "create", "serviceaccount", role)
		switch role {
		case "none":
		case "root":
			m.Kubectl("create", "clusterrolebinding", role, "--clusterrole=cluster-admin", "--serviceaccount=red:"+role)
		case "imp":
			m.Kubectl("create", "clusterrolebinding", role, "--clusterrole="+role, "--serviceaccount=red:"+role)
		default:
			m.Kubectl("-n", "red", "create", "rolebinding", role, "--clusterrole="+role, "--serviceaccount=red:"+role)
		}
	}
	m.Do(`
apiVersion: v1
kind: Pod
metadata: {name: victim, namespace: red}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: alpine, command: [sleep, "10000"], envFrom: [{secretRef: {name: mounted}}]}
`, "kubectl", "apply", "-f", "-")
	m.Kubectl("-n", "red", "wait", "--for=condition=Ready", "pod/victim", "--timeout=60s")
	uid := m.Kubectl("-n", "red", "get", "pod", "victim", "-o", "jsonpath={.metadata.uid}")

	who := map[string]*somebody{
		"anon":  client(m, nil, ""),
		"nodeA": client(m, certify(t, m, "node-1"), ""),
		"nodeB": client(m, certify(t, m, "node-b"), ""),
		"boot":  client(m, nil, "abcdef.0123456789abcdef"),
	}
	for column, account := range map[string]string{"none": "none", "pod": "default", "view": "view", "edit": "edit", "admin": "admin", "root": "root", "imp": "imp"} {
		who[column] = client(m, nil, strings.TrimSpace(m.Kubectl("-n", "red", "create", "token", account)))
	}
	csr := func(node string) string { return request(t, node) }
	m.Do(csr("asked"), "kubectl", "create", "-f", "-")
	all := deeds(uid, csr)

	lines := strings.Split(strings.Trim(tenancy, "\n"), "\n")
	columns := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		if line == "" {
			continue
		}
		name, cells := strings.TrimSpace(line[:38]), strings.Fields(line[38:])
		d, ok := all[name]
		if !ok || len(cells) != len(columns) {
			t.Fatalf("row %q: %d cells, known %v", name, len(cells), ok)
		}
		delete(all, name)
		for i, column := range columns {
			code, body := who[column].does(d)
			got := "y"
			switch code {
			case 0:
				got = "no answer"
			case http.StatusUnauthorized:
				got = "u"
			case http.StatusForbidden:
				got = "-"
			}
			if got != cells[i] || code >= 500 && name != "proxy to the pod" {
				t.Errorf("%s does %q: %s, want %s (%d %.300s)", column, name, got, cells[i], code, body)
			}
		}
	}
	for name := range all {
		t.Errorf("no row for %q", name)
	}
	// A credential that is none is refused before anything is asked.
	for _, token := range []string{"abcdef.fedcba9876543210", "x", who["root"].token + "x"} {
		if code, body := client(m, nil, token).does(deed{"GET", "/version", "", nil}); code != http.StatusUnauthorized {
			t.Errorf("a made-up token: %d %s", code, body)
		}
	}
}

func client(m *harness.Machine, cert *tls.Certificate, token string) *somebody {
	config := &tls.Config{InsecureSkipVerify: true} // the tests' own server
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	return &somebody{&http.Client{Transport: &http.Transport{DialContext: m.Dial, TLSClientConfig: config, ForceAttemptHTTP2: true}}, token}
}

// request is the object that asks for a node's certificate, as its agent does.
func request(t *testing.T, node string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(map[string]any{"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": map[string]any{"name": node},
		"spec": map[string]any{"request": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			"signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": []string{"digital signature", "client auth"}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// certify signs a node's certificate with the cluster's own authority, as joining will.
func certify(t *testing.T, m *harness.Machine, node string) *tls.Certificate {
	now := time.Now()
	authority, err := pki.OpenAuthority(filepath.Join(m.DataDir, "pki"), "ca", "nau", now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Issue(pki.Subject{CommonName: "system:node:" + node, Organizations: []string{"system:nodes"}, Client: true, Life: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
