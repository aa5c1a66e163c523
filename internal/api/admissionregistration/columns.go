package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"nau/internal/api"
	"nau/internal/api/column"
)

func mutatingColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Number("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration", func(c *admissionregistrationv1.MutatingWebhookConfiguration) int { return len(c.Webhooks) }),
		column.Age(),
	}
}

func validatingColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Number("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration", func(c *admissionregistrationv1.ValidatingWebhookConfiguration) int { return len(c.Webhooks) }),
		column.Age(),
	}
}

func paramKind(k *admissionregistrationv1.ParamKind) string {
	if k == nil {
		return column.Unset
	}
	return k.APIVersion + "/" + k.Kind
}

func paramRef(r *admissionregistrationv1.ParamRef) string {
	switch {
	case r == nil:
		return column.Unset
	case r.Selector != nil:
		return column.Selector(r.Selector)
	case r.Namespace != "":
		return r.Namespace + "/" + r.Name
	}
	return "*/" + r.Name
}

func policyColumns() []api.Column {
	doc := admissionregistrationv1.ValidatingAdmissionPolicySpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Number("Validations", "Validations indicates the number of validation rules defined in this configuration", func(p *admissionregistrationv1.ValidatingAdmissionPolicy) int { return len(p.Spec.Validations) }),
		column.Text("ParamKind", doc["paramKind"], func(p *admissionregistrationv1.ValidatingAdmissionPolicy) string { return paramKind(p.Spec.ParamKind) }),
		column.Age(),
	}
}

func policyBindingColumns() []api.Column {
	doc := admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("PolicyName", doc["policyName"], func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) string { return b.Spec.PolicyName }),
		column.Text("ParamRef", doc["paramRef"], func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) string {
			return paramRef(b.Spec.ParamRef)
		}),
		column.Age(),
	}
}

func mutatingPolicyColumns() []api.Column {
	doc := admissionregistrationv1.MutatingAdmissionPolicySpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Number("Mutations", "Mutation indicates the number of mutations rules defined in this configuration", func(p *admissionregistrationv1.MutatingAdmissionPolicy) int { return len(p.Spec.Mutations) }),
		column.Text("ParamKind", doc["paramKind"], func(p *admissionregistrationv1.MutatingAdmissionPolicy) string { return paramKind(p.Spec.ParamKind) }),
		column.Age(),
	}
}

func mutatingPolicyBindingColumns() []api.Column {
	doc := admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("PolicyName", doc["policyName"], func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) string { return b.Spec.PolicyName }),
		column.Text("ParamRef", doc["paramRef"], func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) string {
			return paramRef(b.Spec.ParamRef)
		}),
		column.Age(),
	}
}
