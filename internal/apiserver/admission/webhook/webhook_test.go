package webhook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/hook"
	"nau/internal/apiserver/identity"
)

// answering is a webhook that answers as reply says, and counts how often it was asked.
func answering(t *testing.T, reply func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse) (admissionv1.WebhookClientConfig, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var review reviewv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		review.Response = reply(review.Request)
		if review.Response != nil && review.Response.UID == "" {
			review.Response.UID = review.Request.UID
		}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(s.Close)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return admissionv1.WebhookClientConfig{URL: &s.URL, CABundle: bundle}, &asked
}

func ptr[T any](v T) *T { return &v }

func mutatingHook(name string, client admissionv1.WebhookClientConfig, change ...func(*admissionv1.MutatingWebhook)) admissionv1.MutatingWebhook {
	w := admissionv1.MutatingWebhook{Name: name, ClientConfig: client, AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr(admissionv1.SideEffectClassNone),
		Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{"*"}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}}}
	for _, f := range change {
		f(&w)
	}
	return w
}

func chain(t *testing.T, hooks ...admissionv1.MutatingWebhook) admission.Chain {
	t.Helper()
	conf := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "conf"}, Webhooks: hooks}
	judges := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "conf"}}
	for _, h := range hooks {
		judges.Webhooks = append(judges.Webhooks, admissionv1.ValidatingWebhook{Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy,
			MatchPolicy: h.MatchPolicy, NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects,
			TimeoutSeconds: h.TimeoutSeconds, AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions})
	}
	c := fake.NewClientset(conf, judges, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"team": "a"}}})
	f := informers.NewSharedInformerFactory(c, 0)
	config := Config{Informers: f, Live: c, Caller: hook.New(f.Core().V1().Services().Lister())}
	m, err := NewMutating(config)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewValidating(config)
	if err != nil {
		t.Fatal(err)
	}
	f.Start(t.Context().Done())
	f.WaitForCacheSync(t.Context().Done())
	return admission.Chain{m, v}
}

func create(cm *corev1.ConfigMap) *admission.Request {
	cm.Namespace = "n"
	return &admission.Request{Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Resource: corev1.SchemeGroupVersion.WithResource("configmaps"),
		Name: cm.Name, Namespace: "n", Operation: admission.Create, Object: cm, User: &identity.User{Name: "u", Groups: []string{"g"}},
		Options: &metav1.CreateOptions{TypeMeta: metav1.TypeMeta{Kind: "CreateOptions", APIVersion: "meta.k8s.io/v1"}}}
}

// adds is a webhook that adds a key to a config map's data and fails if it is there already.
func adds(key string) func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
	return func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true, PatchType: ptr(reviewv1.PatchTypeJSONPatch), Patch: fmt.Appendf(nil, `[{"op":"add","path":"/data/%s","value":"yes"}]`, key)}
	}
}

func TestMutationsFollowEachOtherAndAreAskedAgainOnlyIfNeeded(t *testing.T) {
	first, firstAsked := answering(t, adds("a"))
	second, secondAsked := answering(t, adds("b"))
	c := chain(t,
		mutatingHook("first.example.com", first, func(w *admissionv1.MutatingWebhook) {
			w.ReinvocationPolicy = ptr(admissionv1.IfNeededReinvocationPolicy)
		}),
		mutatingHook("second.example.com", second))
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Data: map[string]string{"own": "1"}}
	if err := c.Admit(t.Context(), create(cm)); err != nil {
		t.Fatal(err)
	}
	if cm.Data["a"] != "yes" || cm.Data["b"] != "yes" || cm.Data["own"] != "1" {
		t.Errorf("data %v", cm.Data)
	}
	if firstAsked.Load() != 2 || secondAsked.Load() != 1 {
		t.Errorf("asked %d and %d times, want 2 and 1", firstAsked.Load(), secondAsked.Load())
	}
}

func TestWhatIsAsked(t *testing.T) {
	var got *reviewv1.AdmissionRequest
	client, _ := answering(t, func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		got = r
		return &reviewv1.AdmissionResponse{Allowed: true, Warnings: []string{"mind"}, AuditAnnotations: map[string]string{"k": "v"}}
	})
	c := chain(t, mutatingHook("h.example.com", client))
	r := create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	r.DryRun = true
	var warned, noted string
	r.Warn = func(s string) { warned = s }
	r.Note = func(k, v string) { noted = k + "=" + v }
	if err := c.Validate(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got.UID == "" || got.Kind.Kind != "ConfigMap" || got.Resource.Resource != "configmaps" || got.RequestKind.Kind != "ConfigMap" || got.Name != "x" || got.Namespace != "n" ||
		got.Operation != "CREATE" || got.UserInfo.Username != "u" || !*got.DryRun || !strings.Contains(string(got.Object.Raw), `"kind":"ConfigMap"`) || !strings.Contains(string(got.Options.Raw), "CreateOptions") || got.OldObject.Raw != nil {
		t.Errorf("asked %+v", got)
	}
	if warned != "mind" || noted != "h.example.com/k=v" {
		t.Errorf("warned %q, noted %q", warned, noted)
	}
}

func TestWhoIsAsked(t *testing.T) {
	refuse := func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Result: &metav1.Status{Message: "no"}}
	}
	expression := func(s string) []admissionv1.MatchCondition {
		return []admissionv1.MatchCondition{{Name: "c", Expression: s}}
	}
	for name, test := range map[string]struct {
		change func(*admissionv1.MutatingWebhook)
		asked  bool
	}{
		"plain":             {func(w *admissionv1.MutatingWebhook) {}, true},
		"other resource":    {func(w *admissionv1.MutatingWebhook) { w.Rules[0].Resources = []string{"pods"} }, false},
		"all resources":     {func(w *admissionv1.MutatingWebhook) { w.Rules[0].Resources = []string{"*/*"} }, true},
		"subresources only": {func(w *admissionv1.MutatingWebhook) { w.Rules[0].Resources = []string{"configmaps/status"} }, false},
		"other operation":   {func(w *admissionv1.MutatingWebhook) { w.Rules[0].Operations = []admissionv1.OperationType{"DELETE"} }, false},
		"cluster scope":     {func(w *admissionv1.MutatingWebhook) { w.Rules[0].Scope = ptr(admissionv1.ClusterScope) }, false},
		"namespace that matches": {func(w *admissionv1.MutatingWebhook) {
			w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
		}, true},
		"namespace that does not": {func(w *admissionv1.MutatingWebhook) {
			w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}
		}, false},
		"object that does not match": {func(w *admissionv1.MutatingWebhook) {
			w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"x": "y"}}
		}, false},
		"condition that holds": {func(w *admissionv1.MutatingWebhook) {
			w.MatchConditions = expression(`object.metadata.name == 'x' && request.userInfo.groups == ['g']`)
		}, true},
		"condition that does not": {func(w *admissionv1.MutatingWebhook) { w.MatchConditions = expression(`request.operation == 'DELETE'`) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := answering(t, refuse)
			c := chain(t, mutatingHook("h.example.com", client, test.change))
			for what, ask := range map[string]func(context.Context, *admission.Request) error{"mutating": c.Admit, "validating": c.Validate} {
				err := ask(t.Context(), create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}))
				if (err != nil) != test.asked {
					t.Errorf("%s: %v", what, err)
				}
				if err != nil && err.Error() != `admission webhook "h.example.com" denied the request: no` {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

func TestFailures(t *testing.T) {
	ignore := func(w *admissionv1.MutatingWebhook) { w.FailurePolicy = ptr(admissionv1.Ignore) }
	good, _ := answering(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true}
	})
	foreign := good
	foreign.CABundle = nil
	stranger, _ := answering(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true, UID: "other"}
	})
	silent, _ := answering(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse { return nil })
	broken, _ := answering(t, func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true, PatchType: ptr(reviewv1.PatchTypeJSONPatch), Patch: []byte(`[{"op":"replace","path":"/none/at/all","value":1}]`)}
	})
	absent := admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "n", Name: "none"}}
	for name, client := range map[string]admissionv1.WebhookClientConfig{"untrusted": foreign, "wrong uid": stranger, "no response": silent, "no service": absent, "patch that does not fit": broken} {
		t.Run(name, func(t *testing.T) {
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
			err := chain(t, mutatingHook("h.example.com", client)).Admit(t.Context(), create(cm.DeepCopy()))
			if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `failed calling webhook "h.example.com": `) {
				t.Errorf("fail: %v", err)
			}
			if err := chain(t, mutatingHook("h.example.com", client, ignore)).Admit(t.Context(), create(cm.DeepCopy())); err != nil {
				t.Errorf("ignore: %v", err)
			}
		})
	}
	r := create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	r.DryRun = true
	err := chain(t, mutatingHook("h.example.com", good, ignore, func(w *admissionv1.MutatingWebhook) { w.SideEffects = ptr(admissionv1.SideEffectClassSome) })).Admit(t.Context(), r)
	if !apierrors.IsBadRequest(err) {
		t.Errorf("a trial with side effects: %v", err)
	}
}

// FuzzAnswer: no answer of a webhook makes more of it than an error.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u","allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL2RhdGEiLCJ2YWx1ZSI6e319XQ=="}}`))
	f.Add([]byte(`{"response":{"allowed":false,"status":{"code":-5}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		a, err := answer(doc, "v1", "u", true)
		if err != nil {
			return
		}
		if !a.Allowed {
			if err := denied("h", a.Result); err == nil || err.(apierrors.APIStatus).Status().Code < 400 {
				t.Errorf("refused with %v", err)
			}
		}
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
		r := create(cm)
		before, _ := json.Marshal(cm)
		if after, err := admission.ApplyPatch(before, a.Patch); err == nil {
			_, _ = r.Take(after, r.Kind)
		}
	})
}
