package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"nau/internal/apiserver/identity"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const issuer = "https://kubernetes.default.svc.cluster.local"

type keys []crypto.Signer

func (k keys) Signing() crypto.Signer { return k[0] }

func (k keys) Verifying() (out []crypto.PublicKey) {
	for _, s := range k {
		out = append(out, s.Public())
	}
	return out
}

func newKey(t testing.TB) crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// world is a cluster's objects by kind/namespace/name.
type world map[string]metav1.Object

func look[T metav1.Object](w world, kind, namespace, name string) (T, error) {
	obj, ok := w[kind+"/"+namespace+"/"+name].(T)
	if !ok {
		return obj, apierrors.NewNotFound(schema.GroupResource{Resource: kind}, name)
	}
	return obj, nil
}

func (w world) ServiceAccount(_ context.Context, ns, name string, _ types.UID) (*corev1.ServiceAccount, error) {
	return look[*corev1.ServiceAccount](w, "serviceaccounts", ns, name)
}

func (w world) Pod(_ context.Context, ns, name string, _ types.UID) (*corev1.Pod, error) {
	return look[*corev1.Pod](w, "pods", ns, name)
}

func (w world) Secret(_ context.Context, ns, name string, _ types.UID) (*corev1.Secret, error) {
	return look[*corev1.Secret](w, "secrets", ns, name)
}

func (w world) Node(_ context.Context, name string, _ types.UID) (*corev1.Node, error) {
	return look[*corev1.Node](w, "nodes", "", name)
}

func meta(namespace, name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)}
}

func newWorld() world {
	return world{
		"serviceaccounts/ns/sa":    &corev1.ServiceAccount{ObjectMeta: meta("ns", "sa", "sa-1")},
		"serviceaccounts/ns/other": &corev1.ServiceAccount{ObjectMeta: meta("ns", "other", "sa-2")},
		"pods/ns/p":                &corev1.Pod{ObjectMeta: meta("ns", "p", "pod-1"), Spec: corev1.PodSpec{ServiceAccountName: "sa", NodeName: "n1"}},
		"secrets/ns/s":             &corev1.Secret{ObjectMeta: meta("ns", "s", "secret-1")},
		"nodes//n1":                &corev1.Node{ObjectMeta: meta("", "n1", "node-1")},
	}
}

func newAccounts(t testing.TB) (*ServiceAccounts, world, *testclock.FakePassiveClock) {
	w, c := newWorld(), testclock.NewFakePassiveClock(epoch)
	return NewServiceAccounts(ServiceAccounts{Issuers: []string{issuer}, Audiences: []string{issuer}, Keys: keys{newKey(t)}, Objects: w, Clock: c}), w, c
}

func issue(t testing.TB, s *ServiceAccounts, w world, spec authenticationv1.TokenRequestSpec) *authenticationv1.TokenRequest {
	t.Helper()
	req, err := s.Issue(t.Context(), w["serviceaccounts/ns/sa"].(*corev1.ServiceAccount), &authenticationv1.TokenRequest{Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func seconds(n int64) *int64 { return &n }

func TestTokenSpeaksForItsAccount(t *testing.T) {
	s, w, _ := newAccounts(t)
	req := issue(t, s, w, authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p", UID: "pod-1"}})
	if !req.Status.ExpirationTimestamp.Time.Equal(epoch.Add(time.Hour)) || *req.Spec.ExpirationSeconds != 3600 {
		t.Errorf("life: %+v", req)
	}
	resp, ok, err := s.AuthenticateToken(t.Context(), req.Status.Token, nil)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	u := resp.User
	if u.Name != "system:serviceaccount:ns:sa" || u.UID != "sa-1" || !u.In("system:serviceaccounts") || !u.In("system:serviceaccounts:ns") || !u.In(identity.Authenticated) {
		t.Errorf("user %+v", u)
	}
	for key, want := range map[string]string{identity.ExtraPodName: "p", identity.ExtraPodUID: "pod-1", identity.ExtraNodeName: "n1", identity.ExtraNodeUID: "node-1"} {
		if got := u.Extra[key]; len(got) != 1 || got[0] != want {
			t.Errorf("extra %s = %v, want %s", key, got, want)
		}
	}
	if id := u.Extra[identity.ExtraCredentialID]; len(id) != 1 || !strings.HasPrefix(id[0], "JTI=") {
		t.Errorf("credential id %v", id)
	}
	if !slices.Equal(resp.Audiences, []string{issuer}) {
		t.Errorf("audiences %v", resp.Audiences)
	}
}

func TestTokenDiesWithWhatItIsBoundTo(t *testing.T) {
	pod := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p"}
	secret := &authenticationv1.BoundObjectReference{Kind: "Secret", Name: "s"}
	node := &authenticationv1.BoundObjectReference{Kind: "Node", Name: "n1"}
	for _, tc := range []struct {
		name  string
		bound *authenticationv1.BoundObjectReference
		after func(w world, c *testclock.FakePassiveClock)
		good  bool
	}{
		{"nothing happens", pod, func(world, *testclock.FakePassiveClock) {}, true},
		{"just before the end", nil, func(_ world, c *testclock.FakePassiveClock) { c.SetTime(epoch.Add(time.Hour - time.Second)) }, true},
		{"at the end", nil, func(_ world, c *testclock.FakePassiveClock) { c.SetTime(epoch.Add(time.Hour)) }, false},
		{"long before its begin", nil, func(_ world, c *testclock.FakePassiveClock) { c.SetTime(epoch.Add(-time.Hour)) }, false},
		{"account deleted", nil, func(w world, _ *testclock.FakePassiveClock) { delete(w, "serviceaccounts/ns/sa") }, false},
		{"account replaced", nil, func(w world, _ *testclock.FakePassiveClock) {
			w["serviceaccounts/ns/sa"] = &corev1.ServiceAccount{ObjectMeta: meta("ns", "sa", "sa-9")}
		}, false},
		{"pod deleted", pod, func(w world, _ *testclock.FakePassiveClock) { delete(w, "pods/ns/p") }, false},
		{"pod replaced", pod, func(w world, _ *testclock.FakePassiveClock) {
			w["pods/ns/p"].(*corev1.Pod).UID = "pod-2"
		}, false},
		{"pod terminating since a second", pod, func(w world, c *testclock.FakePassiveClock) {
			w["pods/ns/p"].SetDeletionTimestamp(&metav1.Time{Time: epoch})
			c.SetTime(epoch.Add(time.Second))
		}, true},
		{"pod should have gone two minutes ago", pod, func(w world, c *testclock.FakePassiveClock) {
			w["pods/ns/p"].SetDeletionTimestamp(&metav1.Time{Time: epoch})
			c.SetTime(epoch.Add(2 * time.Minute))
		}, false},
		{"pod runs as somebody else", pod, func(w world, _ *testclock.FakePassiveClock) {
			w["pods/ns/p"].(*corev1.Pod).Spec.ServiceAccountName = "other"
		}, false},
		{"pod's node deleted: only information", pod, func(w world, _ *testclock.FakePassiveClock) { delete(w, "nodes//n1") }, true},
		{"secret deleted", secret, func(w world, _ *testclock.FakePassiveClock) { delete(w, "secrets/ns/s") }, false},
		{"node deleted", node, func(w world, _ *testclock.FakePassiveClock) { delete(w, "nodes//n1") }, false},
		{"node replaced", node, func(w world, _ *testclock.FakePassiveClock) { w["nodes//n1"].SetUID("node-2") }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, w, c := newAccounts(t)
			token := issue(t, s, w, authenticationv1.TokenRequestSpec{BoundObjectRef: tc.bound}).Status.Token
			if _, ok, err := s.AuthenticateToken(t.Context(), token, nil); !ok {
				t.Fatal(err)
			}
			tc.after(w, c) // the signature is remembered now: the answer must change nevertheless
			_, ok, err := s.AuthenticateToken(t.Context(), token, nil)
			if ok != tc.good || (err == nil) != tc.good {
				t.Errorf("ok %v, %v", ok, err)
			}
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
		})
	}
}

func TestTokenIsForItsAudienceOnly(t *testing.T) {
	s, w, _ := newAccounts(t)
	token := issue(t, s, w, authenticationv1.TokenRequestSpec{Audiences: []string{"vault", "x"}}).Status.Token
	if _, ok, _ := s.AuthenticateToken(t.Context(), token, nil); ok {
		t.Error("a token for vault opened the API server")
	}
	resp, ok, err := s.AuthenticateToken(t.Context(), token, []string{"y", "vault"})
	if !ok || !slices.Equal(resp.Audiences, []string{"vault"}) {
		t.Error(resp, ok, err)
	}
}

func TestTokenRequests(t *testing.T) {
	ref := func(kind, name, uid string) *authenticationv1.BoundObjectReference {
		return &authenticationv1.BoundObjectReference{Kind: kind, APIVersion: "v1", Name: name, UID: types.UID(uid)}
	}
	for _, tc := range []struct {
		name string
		req  authenticationv1.TokenRequest
		is   func(error) bool
	}{
		{"too short", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: seconds(599)}}, apierrors.IsInvalid},
		{"too long", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: seconds(1<<32 + 1)}}, apierrors.IsInvalid},
		{"pod gone", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref("Pod", "q", "")}}, apierrors.IsNotFound},
		{"pod replaced", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref("Pod", "p", "pod-0")}}, apierrors.IsConflict},
		{"other kind", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref("ConfigMap", "p", "")}}, apierrors.IsBadRequest},
		{"other name", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, apierrors.IsBadRequest},
		{"other namespace", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "other"}}, apierrors.IsBadRequest},
	} {
		s, w, _ := newAccounts(t)
		if _, err := s.Issue(t.Context(), w["serviceaccounts/ns/sa"].(*corev1.ServiceAccount), &tc.req); !tc.is(err) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	s, w, _ := newAccounts(t)
	_, err := s.Issue(t.Context(), w["serviceaccounts/ns/other"].(*corev1.ServiceAccount),
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref("Pod", "p", "")}})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("another account's pod: %v", err)
	}
	long := issue(t, s, w, authenticationv1.TokenRequestSpec{ExpirationSeconds: seconds(transitionLife), BoundObjectRef: ref("Pod", "p", "pod-1")})
	c, err := verify(s.Keys, long.Status.Token)
	if err != nil || !c.ExpiresAt.Equal(epoch.Add(extendedLife*time.Second)) || !c.Kubernetes.WarnAfter.Equal(epoch.Add(transitionLife*time.Second)) ||
		!long.Status.ExpirationTimestamp.Time.Equal(epoch.Add(transitionLife*time.Second)) {
		t.Errorf("transition token: %v %+v", err, c)
	}
}

func TestRotatedKeysKeepOldTokens(t *testing.T) {
	s, w, _ := newAccounts(t)
	token := issue(t, s, w, authenticationv1.TokenRequestSpec{}).Status.Token
	old := s.Keys.(keys)
	s.Keys = keys{newKey(t), old[0]}
	s.Forget()
	if _, ok, err := s.AuthenticateToken(t.Context(), token, nil); !ok {
		t.Error(err)
	}
	s.Keys = keys{newKey(t)}
	s.Forget()
	if _, ok, _ := s.AuthenticateToken(t.Context(), token, nil); ok {
		t.Error("a token outlived its key")
	}
}

func TestTokenInSecret(t *testing.T) {
	s, w, _ := newAccounts(t)
	secret := w["secrets/ns/s"].(*corev1.Secret)
	token, err := s.IssueForSecret(w["serviceaccounts/ns/sa"].(*corev1.ServiceAccount), "s")
	if err != nil {
		t.Fatal(err)
	}
	try := func(want bool, why string) {
		t.Helper()
		if _, ok, err := s.AuthenticateToken(t.Context(), token, nil); ok != want {
			t.Errorf("%s: %v %v", why, ok, err)
		}
	}
	try(false, "secret holds no token")
	secret.Data = map[string][]byte{"token": []byte(token)}
	try(true, "secret holds it")
	secret.Labels = map[string]string{legacyInvalidSince: "2026-01-01"}
	try(false, "secret was invalidated")
}

// hostile makes what an attacker would.
func hostile(t testing.TB, s *ServiceAccounts, w world) map[string]string {
	good := issue(t, s, w, authenticationv1.TokenRequestSpec{}).Status.Token
	part := strings.Split(good, ".")
	enc := base64.RawURLEncoding.EncodeToString
	dec := func(p string) []byte { b, _ := base64.RawURLEncoding.DecodeString(p); return b }
	public, _ := s.Keys.Signing().Public().(*ecdsa.PublicKey).Bytes()
	kid, _ := KeyID(s.Keys.Signing().Public())
	claims := func(change func(*Claims)) string {
		c, _ := verify(s.Keys, good)
		change(c)
		text, err := sign(s.Keys, c)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	hmac := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": issuer, "sub": "system:serviceaccount:ns:sa"})
	hmac.Header["kid"] = kid
	hmacText, _ := hmac.SignedString(public)
	foreign, _ := sign(keys{newKey(t)}, &Claims{RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer}})
	sig := dec(part[2])
	sig[0] ^= 1
	high := claims(func(c *Claims) { c.Subject = "system:serviceaccount:kube-system:admin" })
	return map[string]string{
		"empty":                   "",
		"dots":                    "..",
		"no signature":            part[0] + "." + part[1] + ".",
		"two parts":               part[0] + "." + part[1],
		"four parts":              good + "." + part[2],
		"alg none":                enc([]byte(`{"alg":"none"}`)) + "." + part[1] + ".",
		"alg None":                enc([]byte(`{"alg":"None","kid":"`+kid+`"}`)) + "." + part[1] + "." + part[2],
		"public key as HMAC":      hmacText,
		"flipped bit":             part[0] + "." + part[1] + "." + enc(sig),
		"other payload":           part[0] + "." + enc([]byte(strings.Replace(string(dec(part[1])), ":sa\"", ":root\"", 1))) + "." + part[2],
		"zero signature":          part[0] + "." + part[1] + "." + enc(make([]byte, 64)),
		"short signature":         part[0] + "." + part[1] + "." + enc(sig[:63]),
		"other key":               foreign,
		"padding":                 good + "=",
		"blank inside":            part[0] + ". " + part[1] + "." + part[2],
		"no such kid":             enc([]byte(`{"alg":"ES256","kid":"../../x"}`)) + "." + part[1] + "." + part[2],
		"kid is an object":        enc([]byte(`{"alg":"ES256","kid":{}}`)) + "." + part[1] + "." + part[2],
		"subject is not account":  high,
		"no end":                  claims(func(c *Claims) { c.ExpiresAt = nil }),
		"no account":              claims(func(c *Claims) { c.Kubernetes = nil }),
		"no uid":                  claims(func(c *Claims) { c.Kubernetes.ServiceAccount.UID = "" }),
		"other issuer":            claims(func(c *Claims) { c.Issuer = "https://evil" }),
		"no audience":             claims(func(c *Claims) { c.Audience = nil }),
		"colon in the namespace":  claims(func(c *Claims) { c.Kubernetes.Namespace = "ns:sa" }),
		"legacy without a secret": claims(func(c *Claims) { c.Issuer = legacyIssuer }),
		"deep":                    enc([]byte(strings.Repeat("[", 8000))) + "." + part[1] + "." + part[2],
		"huge":                    strings.Repeat("a", 1<<20),
	}
}

func TestHostileTokens(t *testing.T) {
	s, w, _ := newAccounts(t)
	for name, token := range hostile(t, s, w) {
		if resp, ok, err := s.AuthenticateToken(t.Context(), token, nil); ok {
			t.Errorf("%s: let in as %+v", name, resp.User)
		} else if err != nil && strings.Contains(err.Error(), "panic") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzServiceAccountToken(f *testing.F) {
	s, w, _ := newAccounts(f)
	good := issue(f, s, w, authenticationv1.TokenRequestSpec{}).Status.Token
	f.Add(good)
	for _, token := range hostile(f, s, w) {
		if len(token) < 4096 {
			f.Add(token)
		}
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, ok, _ := s.AuthenticateToken(context.Background(), token, nil); ok && token != good {
			// ECDSA signatures can be re-randomised only with the key: any other accepted text is a forgery.
			t.Errorf("accepted %q", token)
		}
	})
}

func TestDiscovery(t *testing.T) {
	s, _, _ := newAccounts(t)
	rec := httptest.NewRecorder()
	s.ServeDiscovery("https://192.0.2.1:6443"+KeysPath)(rec, nil)
	var d map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &d); err != nil || d["issuer"] != issuer || d["jwks_uri"] != "https://192.0.2.1:6443/openid/v1/jwks" {
		t.Errorf("%v %v", err, d)
	}
	rec = httptest.NewRecorder()
	s.ServeKeys(rec, nil)
	var set struct{ Keys []jsonWebKey }
	if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatal(err, set)
	}
	k := set.Keys[0]
	id, _ := KeyID(s.Keys.Signing().Public())
	x, _ := base64.RawURLEncoding.DecodeString(k.X)
	if k.ID != id || k.Type != "EC" || k.Curve != "P-256" || k.Algorithm != "ES256" || len(x) != 32 {
		t.Errorf("%+v", k)
	}
	if ct := rec.Header().Get("Content-Type"); ct != "application/jwk-set+json" {
		t.Error(ct)
	}
}

func TestBootstrapTokens(t *testing.T) {
	base := func() *corev1.Secret {
		return &corev1.Secret{ObjectMeta: meta("kube-system", "bootstrap-token-abcdef", "b"), Type: corev1.SecretTypeBootstrapToken, Data: map[string][]byte{
			"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
			"expiration": []byte("2026-03-01T13:00:00Z"), "auth-extra-groups": []byte("system:bootstrappers:nau:default-node-token")}}
	}
	for _, tc := range []struct {
		name, token string
		change      func(*corev1.Secret)
		good        bool
	}{
		{"good", "abcdef.0123456789abcdef", func(*corev1.Secret) {}, true},
		{"wrong secret", "abcdef.0123456789abcdee", func(*corev1.Secret) {}, false},
		{"wrong form", "abcdef.0123456789abcdefg", func(*corev1.Secret) {}, false},
		{"upper case", "ABCDEF.0123456789abcdef", func(*corev1.Secret) {}, false},
		{"unknown", "aaaaaa.0123456789abcdef", func(*corev1.Secret) {}, false},
		{"expired", "abcdef.0123456789abcdef", func(s *corev1.Secret) { s.Data["expiration"] = []byte("2026-03-01T12:00:00Z") }, false},
		{"bad expiration", "abcdef.0123456789abcdef", func(s *corev1.Secret) { s.Data["expiration"] = []byte("soon") }, false},
		{"never expires", "abcdef.0123456789abcdef", func(s *corev1.Secret) { delete(s.Data, "expiration") }, true},
		{"not for authentication", "abcdef.0123456789abcdef", func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-authentication") }, false},
		{"other type", "abcdef.0123456789abcdef", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, false},
		{"other id", "abcdef.0123456789abcdef", func(s *corev1.Secret) { s.Data["token-id"] = []byte("aaaaaa") }, false},
		{"group out of range", "abcdef.0123456789abcdef", func(s *corev1.Secret) { s.Data["auth-extra-groups"] = []byte("system:masters") }, false},
		{"going", "abcdef.0123456789abcdef", func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: epoch} }, false},
	} {
		s := base()
		tc.change(s)
		b := &Bootstrap{world{"secrets/kube-system/bootstrap-token-abcdef": s}, testclock.NewFakePassiveClock(epoch)}
		resp, ok, err := b.AuthenticateToken(t.Context(), tc.token, nil)
		if ok != tc.good || err != nil {
			t.Errorf("%s: %v %v", tc.name, ok, err)
		}
		if ok && (resp.User.Name != "system:bootstrap:abcdef" || !slices.Equal(resp.User.Groups, []string{"system:bootstrappers", "system:bootstrappers:nau:default-node-token"})) {
			t.Errorf("%s: %+v", tc.name, resp.User)
		}
	}
}

func TestBearerPlaces(t *testing.T) {
	b := Bearer{NewStatic(map[string]*identity.User{"letmein": {Name: "alice"}})}
	socket := "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte("letmein"))
	for _, tc := range []struct {
		name string
		h    http.Header
		ok   bool
		err  bool
	}{
		{"nothing", http.Header{}, false, false},
		{"bearer", http.Header{"Authorization": {"Bearer letmein"}}, true, false},
		{"any case", http.Header{"Authorization": {"bEaReR  letmein"}}, true, false},
		{"wrong", http.Header{"Authorization": {"Bearer no"}}, false, true},
		{"basic", http.Header{"Authorization": {"Basic bGV0bWVpbg=="}}, false, false},
		{"blank", http.Header{"Authorization": {"Bearer  "}}, false, false},
		{"socket", http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {socket + ", v5.channel.k8s.io"}}, true, false},
		{"socket without another protocol", http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {socket}}, false, false},
		{"protocol without a socket", http.Header{"Sec-Websocket-Protocol": {socket + ",x"}}, false, false},
	} {
		resp, ok, err := b.Authenticate(&http.Request{Header: tc.h})
		if ok != tc.ok || (err != nil) != tc.err {
			t.Errorf("%s: %v %v", tc.name, ok, err)
		}
		if ok && (resp.User.Name != "alice" || strings.Contains(tc.h.Get("Authorization")+tc.h.Get("Sec-Websocket-Protocol"), "etmein") || strings.Contains(tc.h.Get("Sec-Websocket-Protocol"), "bearer")) {
			t.Errorf("%s: %+v, left over %v", tc.name, resp.User, tc.h)
		}
	}
}

func TestAssembled(t *testing.T) {
	_, w, c := newAccounts(t)
	a := New(Config{Issuers: []string{issuer}, Keys: keys{newKey(t)}, Objects: w, Clock: c, Anonymous: true,
		StaticTokens: map[string]*identity.User{"dev": {Name: "dev"}}})
	who := func(header string) (string, error) {
		h := http.Header{}
		if header != "" {
			h.Set("Authorization", header)
		}
		resp, ok, err := a.Authenticate(&http.Request{Header: h})
		if !ok {
			return "", err
		}
		if resp.User.In(identity.Authenticated) == resp.User.In(identity.Unauthenticated) {
			t.Errorf("%s is in %v", resp.User.Name, resp.User.Groups)
		}
		return resp.User.Name, err
	}
	token := issue(t, a.ServiceAccounts, w, authenticationv1.TokenRequestSpec{}).Status.Token
	for header, want := range map[string]string{"": "system:anonymous", "Bearer dev": "dev", "Bearer " + token: "system:serviceaccount:ns:sa", "Bearer x": "", "Bearer a.b.c": ""} {
		if got, err := who(header); got != want || (want == "") != (err != nil) {
			t.Errorf("%q: %q %v", header, got, err)
		}
	}
	review := func(token string, audiences ...string) authenticationv1.TokenReviewStatus {
		return Review(t.Context(), a.Tokens, a.Audiences, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}).Status
	}
	if st := review(token); !st.Authenticated || st.User.Username != "system:serviceaccount:ns:sa" || !slices.Equal(st.Audiences, []string{issuer}) {
		t.Errorf("%+v", st)
	}
	if st := review(token, "other"); st.Authenticated || st.Error == "" || st.User.Username != "" {
		t.Errorf("%+v", st)
	}
	if st := review("dev", "other"); st.Authenticated {
		t.Errorf("%+v", st)
	}
	if st := review("x"); st.Authenticated || st.Error != "invalid bearer token" {
		t.Errorf("%+v", st)
	}
	if st := review("dev"); !st.Authenticated || !slices.Contains(st.User.Groups, identity.Authenticated) {
		t.Errorf("%+v", st)
	}
}

func BenchmarkAuthenticateKnownToken(b *testing.B) {
	s, w, _ := newAccounts(b)
	token := issue(b, s, w, authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", Name: "p"}}).Status.Token
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := s.AuthenticateToken(context.Background(), token, nil); !ok {
			b.Fatal(err)
		}
	}
}
