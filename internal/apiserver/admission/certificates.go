package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

// Certificates guards certificate signing requests: who approves or signs for a signer needs the verb approve or sign on it
// (CertificateApproval, CertificateSigning), and nobody asks the API server's client signer for system:masters
// (CertificateSubjectRestriction).
type Certificates struct {
	Operations
	authorizer authz.Authorizer
}

// NewCertificates makes the plugin.
func NewCertificates(z authz.Authorizer) *Certificates {
	return &Certificates{Operations{Create, Update}, z}
}

// Name implements Plugin.
func (*Certificates) Name() string { return "CertificateSigningRequests" }

// Validate implements Validator.
func (c *Certificates) Validate(ctx context.Context, r *Request) error {
	csr, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil
	}
	old, _ := r.OldObject.(*certificatesv1.CertificateSigningRequest)
	switch {
	case r.Subresource == "" && r.Operation == Create:
		return c.subject(r, csr)
	case r.Subresource == "approval" && old != nil:
		return c.may(ctx, r, "approve", old.Spec.SignerName)
	case r.Subresource == "status" && old != nil:
		if equality.Semantic.DeepEqual(old.Status.Certificate, csr.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, csr.Status.Conditions) {
			return nil
		}
		return c.may(ctx, r, "sign", old.Spec.SignerName)
	}
	return nil
}

func (c *Certificates) subject(r *Request, csr *certificatesv1.CertificateSigningRequest) error {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil {
		return forbidden(r, errors.New("parse signing request: it is not PEM"))
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return forbidden(r, fmt.Errorf("parse signing request: %w", err))
	}
	if slices.Contains(parsed.Subject.Organization, identity.Masters) {
		return forbidden(r, fmt.Errorf("use of %s signer with %s group is not allowed", csr.Spec.SignerName, identity.Masters))
	}
	return nil
}

// may asks for the signer itself, then for all of its domain.
func (c *Certificates) may(ctx context.Context, r *Request, verb, signer string) error {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		d, _, _ := c.authorizer.Authorize(ctx, authz.Attributes{User: r.User, Verb: verb, APIGroup: certificatesv1.GroupName, APIVersion: "*",
			Resource: "signers", Name: name, ResourceRequest: true})
		if d == authz.Allow {
			return nil
		}
	}
	return forbidden(r, fmt.Errorf("user not permitted to %s requests with signerName %q", verb, signer))
}
