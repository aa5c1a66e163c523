package volume

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"nau/internal/nodeagent/environ"
)

// Objects reads what volumes are made from.
type Objects interface {
	GetConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	GetSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Token asks for a token of a service account bound to a pod.
	Token(ctx context.Context, namespace, account string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
	// TrustBundle returns the PEM certificates of a ClusterTrustBundle by name, or of a signer's bundles by labels.
	TrustBundle(ctx context.Context, src *corev1.ClusterTrustBundleProjection) (string, error)
	// Claim resolves a claim to the volume bound to it.
	Claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolume, bool, error)
}

// payload collects the files of an API-made volume. old returns what a file holds now (a token that is still good is
// kept); next is when the volume has to be made again although nothing changed, zero: never.
func payload(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, o Objects, allocatable corev1.ResourceList, now time.Time,
	old func(path string) []byte) (p Payload, next time.Time, err error) {
	p = Payload{}
	switch {
	case v.ConfigMap != nil:
		err = configMap(ctx, p, pod, o, v.ConfigMap.Name, v.ConfigMap.Items, mode(v.ConfigMap.DefaultMode), v.ConfigMap.Optional)
	case v.Secret != nil:
		err = secret(ctx, p, pod, o, v.Secret.SecretName, v.Secret.Items, mode(v.Secret.DefaultMode), v.Secret.Optional)
	case v.DownwardAPI != nil:
		err = downward(p, pod, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode), allocatable)
	case v.Projected != nil:
		m := mode(v.Projected.DefaultMode)
		var errs []error
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			switch {
			case s.ConfigMap != nil:
				errs = append(errs, configMap(ctx, p, pod, o, s.ConfigMap.Name, s.ConfigMap.Items, m, s.ConfigMap.Optional))
			case s.Secret != nil:
				errs = append(errs, secret(ctx, p, pod, o, s.Secret.Name, s.Secret.Items, m, s.Secret.Optional))
			case s.DownwardAPI != nil:
				errs = append(errs, downward(p, pod, s.DownwardAPI.Items, m, allocatable))
			case s.ServiceAccountToken != nil:
				at, terr := token(ctx, p, pod, o, s.ServiceAccountToken, m, now, old)
				errs = append(errs, terr)
				if terr == nil && (next.IsZero() || at.Before(next)) {
					next = at
				}
			case s.ClusterTrustBundle != nil:
				pem, terr := o.TrustBundle(ctx, s.ClusterTrustBundle)
				if terr != nil && s.ClusterTrustBundle.Optional != nil && *s.ClusterTrustBundle.Optional {
					terr, pem = nil, ""
				}
				errs = append(errs, terr)
				p[s.ClusterTrustBundle.Path] = File{Data: []byte(pem), Mode: m}
			case s.PodCertificate != nil:
				errs = append(errs, errors.New("make projected volume: pod certificates are not offered by this node"))
			}
		}
		err = errors.Join(errs...)
	}
	return p, next, err
}

func mode(m *int32) fs.FileMode {
	if m == nil {
		return 0o644
	}
	return fs.FileMode(*m) & 0o777
}

func configMap(ctx context.Context, p Payload, pod *corev1.Pod, o Objects, name string, items []corev1.KeyToPath, m fs.FileMode, optional *bool) error {
	cm, err := o.GetConfigMap(ctx, pod.Namespace, name)
	if err != nil {
		if apierrors.IsNotFound(err) && optional != nil && *optional {
			return nil
		}
		return err
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		data[k] = v
	}
	return choose(p, data, items, m, optional, "configmap")
}

func secret(ctx context.Context, p Payload, pod *corev1.Pod, o Objects, name string, items []corev1.KeyToPath, m fs.FileMode, optional *bool) error {
	s, err := o.GetSecret(ctx, pod.Namespace, name)
	if err != nil {
		if apierrors.IsNotFound(err) && optional != nil && *optional {
			return nil
		}
		return err
	}
	return choose(p, s.Data, items, m, optional, "secret")
}

func choose(p Payload, data map[string][]byte, items []corev1.KeyToPath, m fs.FileMode, optional *bool, what string) error {
	if len(items) == 0 {
		for k, v := range data {
			p[k] = File{Data: v, Mode: m}
		}
		return nil
	}
	for _, it := range items {
		v, ok := data[it.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("%s references non-existent %s key: %s", what, what, it.Key)
		}
		f := File{Data: v, Mode: m}
		if it.Mode != nil {
			f.Mode = mode(it.Mode)
		}
		p[it.Path] = f
	}
	return nil
}

func downward(p Payload, pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, m fs.FileMode, allocatable corev1.ResourceList) error {
	for _, it := range items {
		var s string
		var err error
		switch {
		case it.FieldRef != nil:
			s, err = environ.Field(pod, it.FieldRef.FieldPath, nil, nil)
		case it.ResourceFieldRef != nil:
			c := environ.Container(pod, it.ResourceFieldRef.ContainerName)
			if c == nil {
				err = fmt.Errorf("container %q not found", it.ResourceFieldRef.ContainerName)
			} else {
				s, err = environ.Resource(c, it.ResourceFieldRef, allocatable)
			}
		}
		if err != nil {
			return err
		}
		f := File{Data: []byte(s), Mode: m}
		if it.Mode != nil {
			f.Mode = mode(it.Mode)
		}
		p[it.Path] = f
	}
	return nil
}

// token puts a service account's token into p, the one that is there as long as it is young. It returns when it has to be
// renewed: at 80 % of its life or after 24 hours. Source: "Service account token volume projection".
func token(ctx context.Context, p Payload, pod *corev1.Pod, o Objects, src *corev1.ServiceAccountTokenProjection, m fs.FileMode, now time.Time,
	old func(string) []byte) (time.Time, error) {
	f := File{Mode: m}
	if uid := onlyUser(pod); uid != nil {
		f.UID, f.Mode = uid, 0o600
	}
	if pod.Spec.SecurityContext != nil && pod.Spec.SecurityContext.FSGroup != nil {
		f.Mode = 0o600 // the group's right to read is added with the group
	}
	if have := old(src.Path); have != nil {
		if at, ok := renewal(have); ok && now.Before(at) {
			f.Data = have
			p[src.Path] = f
			return at, nil
		}
	}
	seconds := int64(3600)
	if src.ExpirationSeconds != nil {
		seconds = *src.ExpirationSeconds
	}
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}}
	if src.Audience != "" {
		req.Spec.Audiences = []string{src.Audience}
	}
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	got, err := o.Token(ctx, pod.Namespace, account, req)
	if err != nil {
		return time.Time{}, fmt.Errorf("fetch token: %w", err)
	}
	f.Data = []byte(got.Status.Token)
	p[src.Path] = f
	if at, ok := renewal(f.Data); ok {
		return at, nil
	}
	return now.Add(time.Duration(seconds) * time.Second * 8 / 10), nil
}

// renewal reads when a token has to be renewed from its own claims; ok is false if it has none.
func renewal(jwt []byte) (time.Time, bool) {
	parts := strings.Split(string(jwt), ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var c struct{ Iat, Exp float64 }
	if json.Unmarshal(raw, &c) != nil || c.Exp <= c.Iat || c.Iat <= 0 {
		return time.Time{}, false
	}
	age := min((c.Exp-c.Iat)*0.8, 24*3600)
	return time.Unix(int64(c.Iat+age), 0), true
}

// onlyUser is the user that all containers run as, nil if they differ or do not say.
func onlyUser(pod *corev1.Pod) *int64 {
	var only *int64
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			var u *int64
			if sc := pod.Spec.SecurityContext; sc != nil {
				u = sc.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				u = sc.RunAsUser
			}
			if u == nil || only != nil && *only != *u {
				return nil
			}
			only = u
		}
	}
	return only
}
