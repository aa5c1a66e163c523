package apiserver

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"nau/internal/apiserver/admission"
	admissionpolicy "nau/internal/apiserver/admission/policy"
	"nau/internal/client"
)

func withPolicies(t *testing.T) *cluster {
	t.Helper()
	c, _ := admitting(t, func(s *client.Set) (admission.Chain, error) {
		conf := admissionpolicy.Config{Informers: s.Informers, Live: s.Kubernetes, Params: s.Dynamic}
		m, err := admissionpolicy.NewMutating(conf)
		if err != nil {
			return nil, err
		}
		v, err := admissionpolicy.NewValidating(conf)
		return admission.Chain{m, v}, err
	})
	c.do("POST", "/api/v1/namespaces", `{"metadata":{"name":"n","labels":{"team":"a"}}}`).want(201)
	return c
}

const policiesPath = "/apis/admissionregistration.k8s.io/v1/"

func TestValidatingPolicyWithParameters(t *testing.T) {
	c := withPolicies(t)
	c.do("POST", policiesPath+"validatingadmissionpolicies", `{"metadata":{"name":"p"},"spec":{
		"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},
		"matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE","UPDATE"],"resources":["deployments"]}]},
		"matchConditions":[{"name":"not-exempt","expression":"!object.metadata.name.startsWith('exempt')"}],
		"variables":[{"name":"most","expression":"int(params.data.most)"},{"name":"team","expression":"namespaceObject.metadata.labels['team']"}],
		"validations":[
			{"expression":"object.spec.replicas <= variables.most","messageExpression":"'team ' + variables.team + ' may have ' + string(variables.most)","reason":"Forbidden"},
			{"expression":"has(object.metadata.labels)","message":"label it"}]}}`).want(201)
	c.do("POST", policiesPath+"validatingadmissionpolicybindings", `{"metadata":{"name":"b"},"spec":{"policyName":"p","validationActions":["Deny"],
		"paramRef":{"name":"limits","parameterNotFoundAction":"Deny"},"matchResources":{"namespaceSelector":{"matchLabels":{"team":"a"}}}}}`).want(201)
	deploy := func(name, labels string, replicas string) reply {
		return c.do("POST", "/apis/apps/v1/namespaces/n/deployments?dryRun=All", `{"metadata":{"name":"`+name+`"`+labels+`},"spec":{"replicas":`+replicas+`,"selector":{"matchLabels":{"a":"b"}},
			"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`)
	}
	labels := `,"labels":{"x":"y"}`
	until(t, "a refusal without parameters", func() bool {
		r := deploy("d", labels, "1")
		return r.code == 422 && strings.Contains(string(r.body), "no params found for policy binding with `Deny` parameterNotFoundAction")
	})
	c.do("POST", "/api/v1/namespaces/n/configmaps", `{"metadata":{"name":"limits"},"data":{"most":"3"}}`).want(201)
	deploy("d", labels, "3").want(201)
	r := deploy("d", labels, "4").want(403)
	if want := `deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: team a may have 3`; !strings.Contains(string(r.body), want) {
		t.Errorf("%s\nwant %s", r.body, want)
	}
	if r := deploy("d", "", "3").want(422); !strings.Contains(string(r.body), "denied request: label it") {
		t.Errorf("%s", r.body)
	}
	deploy("exempt-d", "", "9").want(201)
	for _, bad := range []string{`object.spec.`, `variables.none == 1`, `1`} {
		r := c.do("POST", policiesPath+"validatingadmissionpolicies", `{"metadata":{"name":"bad"},"spec":{
			"matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE"],"resources":["deployments"]}]},"validations":[{"expression":"`+bad+`"}]}}`).want(422)
		if !strings.Contains(string(r.body), "spec.validations[0].expression") {
			t.Errorf("%s: %s", bad, r.body)
		}
	}
}

func TestValidatingPolicyWarns(t *testing.T) {
	c := withPolicies(t)
	c.do("POST", policiesPath+"validatingadmissionpolicies", `{"metadata":{"name":"p"},"spec":{
		"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["*"],"resources":["configmaps"]}]},
		"validations":[{"expression":"request.operation != 'DELETE' && object.metadata.name != 'x'"}]}}`).want(201)
	c.do("POST", policiesPath+"validatingadmissionpolicybindings", `{"metadata":{"name":"b"},"spec":{"policyName":"p","validationActions":["Warn","Audit"]}}`).want(201)
	until(t, "a warning", func() bool {
		r := c.do("POST", "/api/v1/namespaces/n/configmaps?dryRun=All", `{"metadata":{"name":"x"}}`).want(201)
		return strings.Contains(r.header.Get("Warning"), "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: ")
	})
}

func TestMutatingPolicies(t *testing.T) {
	c := withPolicies(t)
	c.do("POST", policiesPath+"mutatingadmissionpolicies", `{"metadata":{"name":"p"},"spec":{"reinvocationPolicy":"Never",
		"matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE"],"resources":["deployments"]}]},
		"mutations":[
			{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{spec: Object.spec{replicas: object.spec.replicas + 2, template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'side', image: 's'}]}}}}"}},
			{"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'a/b': string(object.spec.replicas)}}]"}}]}}`).want(201)
	c.do("POST", policiesPath+"mutatingadmissionpolicybindings", `{"metadata":{"name":"b"},"spec":{"policyName":"p"}}`).want(201)
	var d appsv1.Deployment
	until(t, "the change", func() bool {
		c.do("POST", "/apis/apps/v1/namespaces/n/deployments?dryRun=All", `{"metadata":{"name":"d"},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},
			"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`).want(201, &d)
		return *d.Spec.Replicas == 3
	})
	if d.Annotations["a/b"] != "3" {
		t.Errorf("annotations %v", d.Annotations)
	}
	containers := d.Spec.Template.Spec.Containers
	if len(containers) != 2 || containers[0].Name != "c" || containers[1].Image != "s" || containers[1].TerminationMessagePath != corev1.TerminationMessagePathDefault {
		t.Errorf("containers %v", containers)
	}
}
