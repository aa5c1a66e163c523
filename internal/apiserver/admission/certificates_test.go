package admission

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

func signingRequest(t *testing.T, signer, user string, groups ...string) *certificatesv1.CertificateSigningRequest {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: user, Organization: groups}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: signer,
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}}
}

func TestCertificateRequests(t *testing.T) {
	allow := func(names ...string) authz.Authorizer {
		return authz.Func(func(_ context.Context, a authz.Attributes) (authz.Decision, string, error) {
			for _, n := range names {
				if a.Resource == "signers" && a.Verb+" "+a.Name == n {
					return authz.Allow, "", nil
				}
			}
			return authz.NoOpinion, "", nil
		})
	}
	const client, kubelet = certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName
	signed := signingRequest(t, client, "x")
	signed.Status.Certificate = []byte("x")
	junk := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: client, Request: []byte("junk")}}
	for _, tc := range []struct {
		name    string
		z       authz.Authorizer
		op      Operation
		sub     string
		is, was runtime.Object
		refusal string
	}{
		{"a person", allow(), Create, "", signingRequest(t, client, "alice", "dev"), nil, ""},
		{"a master", allow(), Create, "", signingRequest(t, client, "alice", "dev", identity.Masters), nil, "system:masters group is not allowed"},
		{"a master of another signer", allow(), Create, "", signingRequest(t, "example.com/x", "alice", identity.Masters), nil, ""},
		{"junk", allow(), Create, "", junk, nil, "parse signing request"},
		{"approval", allow("approve " + client), Update, "approval", signingRequest(t, client, "x"), signingRequest(t, client, "x"), ""},
		{"approval of the domain", allow("approve kubernetes.io/*"), Update, "approval", signingRequest(t, client, "x"), signingRequest(t, client, "x"), ""},
		{"approval for another signer", allow("approve " + client), Update, "approval", signingRequest(t, kubelet, "x"), signingRequest(t, kubelet, "x"), "not permitted to approve"},
		{"signing", allow("sign " + client), Update, "status", signed, signingRequest(t, client, "x"), ""},
		{"signing with the right to approve", allow("approve " + client), Update, "status", signed, signingRequest(t, client, "x"), "not permitted to sign"},
		{"a status that is not touched", allow(), Update, "status", signed, signed, ""},
	} {
		r := request(tc.op, "certificates.k8s.io:certificatesigningrequests", "", "csr", tc.is, tc.was)
		r.Subresource = tc.sub
		err := NewCertificates(tc.z).Validate(t.Context(), r)
		if (tc.refusal == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.refusal)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	// A node may ask for itself only.
	n := NewNodeRestriction(newWorld(t).f, nil, allow())
	for user, refused := range map[string]bool{"system:node:n1": false, "system:node:n2": true, "admin": true} {
		r := request(Create, "certificates.k8s.io:certificatesigningrequests", "", "csr", signingRequest(t, kubelet, user, identity.Nodes), nil)
		r.User = &identity.User{Name: "system:node:n1", Groups: []string{identity.Nodes}}
		if err := n.Validate(t.Context(), r); (err != nil) != refused {
			t.Errorf("n1 asks for %s: %v", user, err)
		}
	}
}
