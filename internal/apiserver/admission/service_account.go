package admission

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// What containers find of their service account, and where (Kubernetes docs, "Managing Service Accounts").
const (
	tokenMountPath  = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenVolume     = "kube-api-access"
	tokenLife       = 60*60 + 7
	rootCAConfigMap = "kube-root-ca.crt"
	defaultAccount  = "default"
)

// ServiceAccount gives every pod an account: it fills in the default one, checks that it exists, mounts its token and hands
// over its pull secrets.
type ServiceAccount struct {
	Operations
	accounts corelisters.ServiceAccountLister
	live     kubernetes.Interface
	news     news
	// Patience is how long a pod waits for the default account of a namespace that was made a moment ago.
	Patience time.Duration
	// Suffix makes the end of the token volume's name.
	Suffix func() string
}

// NewServiceAccount makes the plugin.
func NewServiceAccount(f informers.SharedInformerFactory, live kubernetes.Interface) (*ServiceAccount, error) {
	i := f.Core().V1().ServiceAccounts()
	s := &ServiceAccount{Operations: Operations{Create, Update}, accounts: i.Lister(), live: live, Patience: 1500 * time.Millisecond,
		Suffix: func() string { return utilrand.String(5) }}
	if err := s.news.follow(i.Informer()); err != nil {
		return nil, fmt.Errorf("follow service accounts: %w", err)
	}
	return s, nil
}

// Name implements Plugin.
func (*ServiceAccount) Name() string { return "ServiceAccount" }

// Admit implements Mutator.
func (s *ServiceAccount) Admit(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || r.Operation != Create || !r.Is("", "pods", "") {
		return nil
	}
	if isMirror(pod) {
		return s.Validate(ctx, r)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	sa, err := s.find(ctx, r.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return forbidden(r, fmt.Errorf("error looking up service account %s/%s: %w", r.Namespace, pod.Spec.ServiceAccountName, err))
	}
	if automount(sa, pod) {
		s.mount(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = append([]corev1.LocalObjectReference(nil), sa.ImagePullSecrets...)
	}
	return s.Validate(ctx, r)
}

// Validate implements Validator. A mirror pod stands for a file on a node: it may refer to nothing that the API server guards.
func (s *ServiceAccount) Validate(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || r.Operation != Create || !r.Is("", "pods", "") {
		return nil
	}
	if !isMirror(pod) {
		if _, err := s.find(ctx, r.Namespace, pod.Spec.ServiceAccountName); err != nil {
			return forbidden(r, fmt.Errorf("error looking up service account %s/%s: %w", r.Namespace, pod.Spec.ServiceAccountName, err))
		}
		return nil
	}
	if pod.Spec.ServiceAccountName != "" {
		return forbidden(r, fmt.Errorf("a mirror pod may not reference service accounts"))
	}
	for kind := range referenced(pod) {
		if kind == "secrets" {
			return forbidden(r, fmt.Errorf("a mirror pod may not reference secrets"))
		}
	}
	for i := range pod.Spec.Volumes {
		if p := pod.Spec.Volumes[i].Projected; p != nil {
			for _, src := range p.Sources {
				if src.ServiceAccountToken != nil {
					return forbidden(r, fmt.Errorf("a mirror pod may not use ServiceAccountToken volume projections"))
				}
			}
		}
	}
	return nil
}

func (s *ServiceAccount) find(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	sa, err := s.accounts.ServiceAccounts(namespace).Get(name)
	if err == nil {
		return sa, nil
	}
	if sa, err = s.live.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{}); err == nil || name != defaultAccount || !apierrors.IsNotFound(err) {
		return sa, lacking(err, name)
	}
	s.news.await(ctx, s.Patience, func() bool {
		sa, err = s.accounts.ServiceAccounts(namespace).Get(name)
		return err == nil
	})
	return sa, lacking(err, name)
}

// lacking says in upstream's words, which name one account, that there is none.
func lacking(err error, name string) error {
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
	}
	return err
}

func automount(sa *corev1.ServiceAccount, pod *corev1.Pod) bool {
	for _, say := range []*bool{pod.Spec.AutomountServiceAccountToken, sa.AutomountServiceAccountToken} {
		if say != nil {
			return *say
		}
	}
	return true
}

// mount lets every container that has nothing at the token's place see the token volume.
func (s *ServiceAccount) mount(pod *corev1.Pod) {
	name := ""
	for i := range pod.Spec.Volumes {
		if strings.HasPrefix(pod.Spec.Volumes[i].Name, tokenVolume+"-") {
			name = pod.Spec.Volumes[i].Name
			break
		}
	}
	present := name != ""
	if !present {
		name = tokenVolume + "-" + s.Suffix()
	}
	needed := false
	add := func(mounts []corev1.VolumeMount) []corev1.VolumeMount {
		for i := range mounts {
			if mounts[i].MountPath == tokenMountPath {
				return mounts
			}
		}
		needed = true
		return append(mounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath})
	}
	for i := range pod.Spec.InitContainers {
		pod.Spec.InitContainers[i].VolumeMounts = add(pod.Spec.InitContainers[i].VolumeMounts)
	}
	for i := range pod.Spec.Containers {
		pod.Spec.Containers[i].VolumeMounts = add(pod.Spec.Containers[i].VolumeMounts)
	}
	if needed && !present {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenSources()}})
	}
}

func tokenSources() *corev1.ProjectedVolumeSource {
	mode, life := int32(0o644), int64(tokenLife)
	return &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &life}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: rootCAConfigMap}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}
}

func isMirror(p *corev1.Pod) bool {
	_, ok := p.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// referenced is the kinds of things, as resource names, that a pod refers to by name.
func referenced(p *corev1.Pod) map[string]bool {
	out := map[string]bool{}
	note := func(kind string, present bool) {
		if present {
			out[kind] = true
		}
	}
	note("secrets", len(p.Spec.ImagePullSecrets) > 0)
	env := func(vars []corev1.EnvVar, from []corev1.EnvFromSource) {
		for i := range vars {
			if v := vars[i].ValueFrom; v != nil {
				note("secrets", v.SecretKeyRef != nil)
				note("configmaps", v.ConfigMapKeyRef != nil)
			}
		}
		for i := range from {
			note("secrets", from[i].SecretRef != nil)
			note("configmaps", from[i].ConfigMapRef != nil)
		}
	}
	for i := range p.Spec.InitContainers {
		env(p.Spec.InitContainers[i].Env, p.Spec.InitContainers[i].EnvFrom)
	}
	for i := range p.Spec.Containers {
		env(p.Spec.Containers[i].Env, p.Spec.Containers[i].EnvFrom)
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		note("secrets", v.Secret != nil || (v.CSI != nil && v.CSI.NodePublishSecretRef != nil) || (v.ISCSI != nil && v.ISCSI.SecretRef != nil) ||
			(v.RBD != nil && v.RBD.SecretRef != nil) || (v.CephFS != nil && v.CephFS.SecretRef != nil) || (v.Cinder != nil && v.Cinder.SecretRef != nil) ||
			(v.FlexVolume != nil && v.FlexVolume.SecretRef != nil) || (v.ScaleIO != nil && v.ScaleIO.SecretRef != nil) ||
			(v.StorageOS != nil && v.StorageOS.SecretRef != nil) || (v.AzureFile != nil && v.AzureFile.SecretName != ""))
		note("configmaps", v.ConfigMap != nil)
		note("persistentvolumeclaims", v.PersistentVolumeClaim != nil || v.Ephemeral != nil)
		if v.Projected != nil {
			for _, src := range v.Projected.Sources {
				note("secrets", src.Secret != nil)
				note("configmaps", src.ConfigMap != nil)
				note("clustertrustbundles", src.ClusterTrustBundle != nil)
				note("podcertificates", src.PodCertificate != nil)
			}
		}
	}
	note("resourceclaims", len(p.Spec.ResourceClaims) > 0)
	return out
}

func forbidden(r *Request, why error) error {
	return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, why)
}
