package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/column"
)

// SetRequester writes who asks; clients cannot choose it. The server calls it on create.
func SetRequester(c *certificatesv1.CertificateSigningRequest, name, uid string, groups []string, extra map[string][]string) {
	s := &c.Spec
	s.Username, s.UID, s.Groups, s.Extra = name, uid, slices.Clone(groups), nil
	for k, v := range maps.All(extra) {
		if s.Extra == nil {
			s.Extra = map[string]certificatesv1.ExtraValue{}
		}
		s.Extra[k] = slices.Clone(v)
	}
}

// prepareUpdate: a request never changes once made.
func prepareUpdate(n, o *certificatesv1.CertificateSigningRequest) {
	n.Spec, n.Status = o.Spec, o.Status
}

func prepareStatus(n, o *certificatesv1.CertificateSigningRequest) {
	n.Spec = o.Spec
	if len(n.Status.Certificate) == 0 {
		n.Status.Certificate = o.Status.Certificate
	}
	// Approval and denial have their own endpoint.
	n.Status.Conditions = keepDecision(n.Status.Conditions, o.Status.Conditions)
}

// prepareApproval lets approvers write conditions of every type. Source: the API docs of /approval.
func prepareApproval(n, o *certificatesv1.CertificateSigningRequest) {
	n.Spec = o.Spec
	n.Status.Certificate = o.Status.Certificate
}

// keepDecision takes Approved and Denied from the old conditions and all others from the new ones.
func keepDecision(new, old []certificatesv1.CertificateSigningRequestCondition) []certificatesv1.CertificateSigningRequestCondition {
	decision := func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied
	}
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, c := range old {
		if decision(c) {
			out = append(out, c)
		}
	}
	for _, c := range new {
		if !decision(c) {
			out = append(out, c)
		}
	}
	return out
}

var usages = sets.New(
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
	certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
	certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
	certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
	certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC)

func validate(c *certificatesv1.CertificateSigningRequest) field.ErrorList {
	p, s := field.NewPath("spec"), &c.Spec
	var errs field.ErrorList
	if err := checkRequest(s.Request); err != nil {
		errs = append(errs, field.Invalid(p.Child("request"), s.Request, err.Error()))
	}
	if len(s.Usages) == 0 {
		errs = append(errs, field.Required(p.Child("usages"), "usages must be provided"))
	}
	seen := sets.New[certificatesv1.KeyUsage]()
	for i, u := range s.Usages {
		if !usages.Has(u) {
			errs = append(errs, field.NotSupported(p.Child("usages").Index(i), u, sets.List(usages)))
		}
		if seen.Has(u) {
			errs = append(errs, field.Duplicate(p.Child("usages").Index(i), u))
		}
		seen.Insert(u)
	}
	errs = append(errs, validateSigner(p.Child("signerName"), s.SignerName)...)
	if e := s.ExpirationSeconds; e != nil && *e < 600 {
		errs = append(errs, field.Invalid(p.Child("expirationSeconds"), *e, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

func checkRequest(raw []byte) error {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

// validateSigner: a domain of at least two labels, a slash, and a path of dotted labels.
func validateSigner(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	domain, rest, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(rest, "/") {
		return field.ErrorList{field.Invalid(p, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	for _, m := range validation.IsDNS1123Subdomain(domain) {
		errs = append(errs, field.Invalid(p, domain, "validating label \""+domain+"\": "+m))
	}
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(p, domain, "should be a domain with at least two segments separated by dots"))
	}
	for i, part := range strings.Split(rest, ".") {
		for _, m := range validation.IsDNS1123Subdomain(part) {
			errs = append(errs, field.Invalid(p, rest, fmt.Sprintf("validating part %d: %s", i, m)))
		}
	}
	if len(name) > 571 {
		errs = append(errs, field.TooLong(p, "", 571))
	}
	return errs
}

func validateUpdate(new, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("status", "conditions")
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		is, was := conditionsOf(new, kind), conditionsOf(old, kind)
		if apiequality.Semantic.DeepEqual(is, was) {
			continue
		}
		switch {
		case len(was) > 0 && len(is) == 0:
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not remove a condition of type %q", kind)))
		case len(was) == 0 && len(is) > 0 && kind != certificatesv1.CertificateFailed && len(conditionsOf(old, opposite(kind))) > 0:
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not add a condition of type %q", kind)))
		}
	}
	if len(old.Status.Certificate) > 0 && !slices.Equal(new.Status.Certificate, old.Status.Certificate) {
		errs = append(errs, field.Forbidden(field.NewPath("status", "certificate"), "updates may not set certificate content"))
	}
	return append(errs, validateStatus(new)...)
}

func opposite(kind certificatesv1.RequestConditionType) certificatesv1.RequestConditionType {
	if kind == certificatesv1.CertificateApproved {
		return certificatesv1.CertificateDenied
	}
	return certificatesv1.CertificateApproved
}

func conditionsOf(c *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, condition := range c.Status.Conditions {
		if condition.Type == kind {
			out = append(out, condition)
		}
	}
	return out
}

func validateStatus(c *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var errs field.ErrorList
	p := field.NewPath("status")
	types := sets.New[certificatesv1.RequestConditionType]()
	for i, condition := range c.Status.Conditions {
		at := p.Child("conditions").Index(i)
		if condition.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		decision := condition.Type == certificatesv1.CertificateApproved || condition.Type == certificatesv1.CertificateDenied || condition.Type == certificatesv1.CertificateFailed
		switch {
		case condition.Status == "":
			errs = append(errs, field.Required(at.Child("status"), ""))
		case decision && condition.Status != corev1.ConditionTrue:
			errs = append(errs, field.NotSupported(at.Child("status"), condition.Status, []corev1.ConditionStatus{corev1.ConditionTrue}))
		}
		if types.Has(condition.Type) {
			errs = append(errs, field.Duplicate(at.Child("type"), condition.Type))
		}
		types.Insert(condition.Type)
	}
	if types.HasAll(certificatesv1.CertificateApproved, certificatesv1.CertificateDenied) {
		errs = append(errs, field.Invalid(p.Child("conditions"), certificatesv1.CertificateDenied, "Approved and Denied conditions are mutually exclusive"))
	}
	if raw := c.Status.Certificate; len(raw) > 0 {
		errs = append(errs, validateCertificate(p.Child("certificate"), raw)...)
	}
	return errs
}

func validateCertificate(p *field.Path, raw []byte) field.ErrorList {
	const redacted = "<certificate data>"
	found := false
	for len(raw) > 0 {
		var block *pem.Block
		block, raw = pem.Decode(raw)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return field.ErrorList{field.Invalid(p, redacted, fmt.Sprintf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type))}
		}
		if len(block.Headers) != 0 {
			return field.ErrorList{field.Invalid(p, redacted, "no PEM block headers are permitted")}
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return field.ErrorList{field.Invalid(p, redacted, err.Error())}
		}
		found = true
	}
	if !found {
		return field.ErrorList{field.Invalid(p, redacted, "must contain at least one CERTIFICATE PEM block")}
	}
	return nil
}

func requestFields(c *certificatesv1.CertificateSigningRequest) fields.Set {
	return fields.Set{"spec.signerName": c.Spec.SignerName}
}

func columns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Age(),
		column.Text("SignerName", certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()["signerName"], func(c *certificatesv1.CertificateSigningRequest) string {
			return column.OrNone(c.Spec.SignerName)
		}),
		column.Text("Requestor", certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()["username"], func(c *certificatesv1.CertificateSigningRequest) string { return c.Spec.Username }),
		column.Text("RequestedDuration", certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()["expirationSeconds"], func(c *certificatesv1.CertificateSigningRequest) string {
			if c.Spec.ExpirationSeconds == nil {
				return column.None
			}
			return duration.HumanDuration(time.Duration(*c.Spec.ExpirationSeconds) * time.Second)
		}),
		column.Text("Condition", certificatesv1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"], conditionCell),
	}
}

func conditionCell(c *certificatesv1.CertificateSigningRequest) string {
	var words []string
	switch {
	case len(conditionsOf(c, certificatesv1.CertificateDenied)) > 0:
		words = append(words, "Denied")
	case len(conditionsOf(c, certificatesv1.CertificateApproved)) > 0:
		words = append(words, "Approved")
	default:
		words = append(words, "Pending")
	}
	if len(conditionsOf(c, certificatesv1.CertificateFailed)) > 0 {
		words = append(words, "Failed")
	}
	if len(c.Status.Certificate) > 0 {
		words = append(words, "Issued")
	}
	return strings.Join(words, ",")
}
