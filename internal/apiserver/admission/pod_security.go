package admission

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	podsecurity "k8s.io/pod-security-admission/admission"
	podsecurityconfig "k8s.io/pod-security-admission/admission/api"
	podsecurityapi "k8s.io/pod-security-admission/api"
	podsecuritymetrics "k8s.io/pod-security-admission/metrics"
	podsecuritypolicy "k8s.io/pod-security-admission/policy"
)

// PodSecurity holds pods to the Pod Security Standards that their namespace's labels ask for; without labels everything goes, as
// upstream's default.
type PodSecurity struct {
	Operations
	library *podsecurity.Admission
}

// NewPodSecurity makes the plugin.
func NewPodSecurity(f informers.SharedInformerFactory, live kubernetes.Interface) (*PodSecurity, error) {
	evaluator, err := podsecuritypolicy.NewEvaluator(podsecuritypolicy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("make pod security evaluator: %w", err)
	}
	level, latest := string(podsecurityapi.LevelPrivileged), podsecurityapi.VersionLatest
	world := securityWorld{f.Core().V1().Namespaces().Lister(), f.Core().V1().Pods().Lister(), live}
	a := &podsecurity.Admission{
		Configuration: &podsecurityconfig.PodSecurityConfiguration{Defaults: podsecurityconfig.PodSecurityDefaults{
			Enforce: level, EnforceVersion: latest, Audit: level, AuditVersion: latest, Warn: level, WarnVersion: latest}},
		Evaluator: evaluator, Metrics: uncounted{}, NamespaceGetter: world, PodLister: world,
	}
	if err := errors.Join(a.CompleteConfiguration(), a.ValidateConfiguration()); err != nil {
		return nil, fmt.Errorf("configure pod security: %w", err)
	}
	return &PodSecurity{Operations{Create, Update}, a}, nil
}

// Name implements Plugin.
func (*PodSecurity) Name() string { return "PodSecurity" }

// Validate implements Validator.
func (p *PodSecurity) Validate(ctx context.Context, r *Request) error {
	gr := r.Resource.GroupResource()
	isNamespace := gr == corev1.Resource("namespaces")
	if r.Subresource != "" && r.Subresource != "ephemeralcontainers" || (!isNamespace && !p.library.PodSpecExtractor.HasPodSpec(gr)) {
		return nil
	}
	answer := p.library.Validate(ctx, &podsecurityapi.AttributesRecord{Name: r.Name, Namespace: r.Namespace, Kind: r.Kind, Resource: r.Resource,
		Subresource: r.Subresource, Operation: admissionv1.Operation(r.Operation), Object: r.Object, OldObject: r.OldObject, Username: r.User.Name})
	for _, w := range answer.Warnings {
		r.Warning(w)
	}
	if answer.Allowed {
		return nil
	}
	e := apierrors.NewForbidden(gr, r.Name, errors.New("Not allowed by PodSecurity"))
	if s := answer.Result; s != nil {
		if s.Message != "" {
			e.ErrStatus.Message = s.Message
		}
		if s.Reason != "" {
			e.ErrStatus.Reason = s.Reason
		}
		if s.Details != nil {
			e.ErrStatus.Details = s.Details
		}
		if s.Code != 0 {
			e.ErrStatus.Code = s.Code
		}
	}
	return e
}

// securityWorld is the cluster as the library wants to see it.
type securityWorld struct {
	namespaces corelisters.NamespaceLister
	pods       corelisters.PodLister
	live       kubernetes.Interface
}

func (w securityWorld) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	ns, err := w.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		return w.live.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	}
	return ns, err
}

func (w securityWorld) ListPods(_ context.Context, namespace string) ([]*corev1.Pod, error) {
	return w.pods.Pods(namespace).List(labels.Everything())
}

// uncounted throws the library's metrics away.
type uncounted struct{}

func (uncounted) RecordEvaluation(podsecuritymetrics.Decision, podsecurityapi.LevelVersion, podsecuritymetrics.Mode, podsecurityapi.Attributes) {
}
func (uncounted) RecordExemption(podsecurityapi.Attributes)   {}
func (uncounted) RecordError(bool, podsecurityapi.Attributes) {}
