package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// certificateSigningRequest declares the resource certificatesigningrequests.
func certificateSigningRequest() *api.Resource {
	return &api.Resource{
		Group: "certificates.k8s.io",
		Kind:  "CertificateSigningRequest", Plural: "certificatesigningrequests", Singular: "certificatesigningrequest",
		ShortNames: []string{"csr"},
		Versions:   []api.Version{{Name: "v1", New: api.New[certificatesv1.CertificateSigningRequest](), NewList: api.New[certificatesv1.CertificateSigningRequestList]()}},
		Storage:    "v1",
		Prefix:     "certificatesigningrequests",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           path.ValidatePathSegmentName,
			PrepareUpdate:  api.Change(prepareUpdate),
			Validate:       api.Check(validate),
			ValidateUpdate: api.CheckChange(validateUpdate),
			PrepareCreate: api.Each(func(n *certificatesv1.CertificateSigningRequest) {
				n.Status = certificatesv1.CertificateSigningRequestStatus{}
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "CertificateSigningRequest", Verbs: api.StatusVerbs, New: api.New[certificatesv1.CertificateSigningRequest](),
				PrepareUpdate:  api.Change(prepareStatus),
				ValidateUpdate: api.CheckChange(validateUpdate),
				ResetFields:    [][]string{{"spec"}}},
			{Name: "approval", Kind: "CertificateSigningRequest", Verbs: api.StatusVerbs, New: api.New[certificatesv1.CertificateSigningRequest](),
				PrepareUpdate: api.Change(prepareApproval), ValidateUpdate: api.CheckChange(validateUpdate)},
		},
		Columns: columns(),
		Fields:  func(o runtime.Object) fields.Set { return requestFields(o.(*certificatesv1.CertificateSigningRequest)) },
	}
}
