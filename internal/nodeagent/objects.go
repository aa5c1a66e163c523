package nodeagent

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/nodeagent/volume"
)

// volumes is what the workers need of package volume.
type volumes interface {
	Prepare() error
	Mount(ctx context.Context, pod *corev1.Pod) (map[string]volume.Source, time.Time, error)
	SubPath(uid, volume, base, sub, container string, index int) (string, error)
	ReadFile(pod *corev1.Pod, volume, path string, limit int64) ([]byte, error)
	Unmount(uid string) error
	Pods() []string
}

// memoryVolumes are a simulated node's: every volume is there and holds nothing.
type memoryVolumes struct{}

func (memoryVolumes) Prepare() error { return nil }
func (memoryVolumes) Mount(_ context.Context, pod *corev1.Pod) (map[string]volume.Source, time.Time, error) {
	out := make(map[string]volume.Source, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		out[pod.Spec.Volumes[i].Name] = volume.Source{Path: "/simulated"}
	}
	return out, time.Time{}, nil
}
func (memoryVolumes) SubPath(_, _, base, sub, _ string, _ int) (string, error) {
	return base + "/" + sub, nil
}
func (memoryVolumes) ReadFile(*corev1.Pod, string, string, int64) ([]byte, error) {
	return nil, errors.New("read file: a simulated volume holds nothing")
}
func (memoryVolumes) Unmount(string) error { return nil }
func (memoryVolumes) Pods() []string       { return nil }

func (a *Agent) diskVolumes() volumes {
	return &volume.Keeper{Root: a.cfg.RootDir, Objects: objects{a}, Allocatable: func() corev1.ResourceList { return a.node.Allocatable() }, Now: a.cfg.Clock.Now}
}

// objects reads for volumes.
type objects struct{ a *Agent }

func (o objects) GetConfigMap(ctx context.Context, ns, name string) (*corev1.ConfigMap, error) {
	return o.a.refs.GetConfigMap(ctx, ns, name)
}

func (o objects) GetSecret(ctx context.Context, ns, name string) (*corev1.Secret, error) {
	return o.a.refs.GetSecret(ctx, ns, name)
}

func (o objects) Token(ctx context.Context, ns, account string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return o.a.cfg.Client.CoreV1().ServiceAccounts(ns).CreateToken(ctx, account, req, metav1.CreateOptions{})
}

// TrustBundle joins the certificates of the bundles that src selects, each once, in a stable order.
func (o objects) TrustBundle(ctx context.Context, src *corev1.ClusterTrustBundleProjection) (string, error) {
	api := o.a.cfg.Client.CertificatesV1beta1().ClusterTrustBundles()
	var texts []string
	switch {
	case src.Name != nil:
		b, err := api.Get(ctx, *src.Name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		texts = append(texts, b.Spec.TrustBundle)
	case src.SignerName != nil:
		sel := ""
		if src.LabelSelector != nil {
			s, err := metav1.LabelSelectorAsSelector(src.LabelSelector)
			if err != nil {
				return "", fmt.Errorf("read trust bundle selector: %w", err)
			}
			sel = s.String()
		}
		l, err := api.List(ctx, metav1.ListOptions{LabelSelector: sel})
		if err != nil {
			return "", err
		}
		for i := range l.Items {
			if l.Items[i].Spec.SignerName == *src.SignerName {
				texts = append(texts, l.Items[i].Spec.TrustBundle)
			}
		}
		if len(texts) == 0 {
			return "", fmt.Errorf("combination of signerName and labelSelector matched zero ClusterTrustBundles")
		}
	}
	var certs []string
	for _, t := range texts {
		for rest := []byte(t); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			certs = append(certs, string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})))
		}
	}
	slices.Sort(certs)
	return strings.Join(slices.Compact(certs), ""), nil
}

// Claim resolves a bound claim.
func (o objects) Claim(ctx context.Context, ns, name string) (*corev1.PersistentVolume, bool, error) {
	pvc, err := o.a.cfg.Client.CoreV1().PersistentVolumeClaims(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	if pvc.Status.Phase != corev1.ClaimBound || pvc.Spec.VolumeName == "" {
		return nil, false, fmt.Errorf("PVC %s/%s has non-bound phase (%q) or empty pvc.Spec.VolumeName (%q)", ns, name, pvc.Status.Phase, pvc.Spec.VolumeName)
	}
	pv, err := o.a.cfg.Client.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	if pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != pvc.UID {
		return nil, false, fmt.Errorf("volume %q is not bound to claim %s/%s", pv.Name, ns, name)
	}
	return pv, pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock, nil
}
