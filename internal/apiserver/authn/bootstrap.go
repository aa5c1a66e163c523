package authn

import (
	"context"
	"crypto/subtle"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"nau/internal/apiserver/identity"
)

var (
	bootstrapToken = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
	bootstrapGroup = regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`)
)

// Bootstrap recognises the tokens that new nodes join with: "ID.SECRET" as the Secret kube-system/bootstrap-token-ID of type
// bootstrap.kubernetes.io/token holds it (Kubernetes docs, "Authenticating with Bootstrap Tokens").
type Bootstrap struct {
	Objects Objects
	Clock   clock.PassiveClock
}

// AuthenticateToken implements TokenAuthenticator.
func (b *Bootstrap) AuthenticateToken(ctx context.Context, token string, _ []string) (*identity.Response, bool, error) {
	m := bootstrapToken.FindStringSubmatch(token)
	if m == nil {
		return nil, false, nil
	}
	id, secretPart := m[1], m[2]
	secret, err := b.Objects.Secret(ctx, metav1.NamespaceSystem, "bootstrap-token-"+id, "")
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look up bootstrap token %s: %w", id, err)
	}
	groups, ok := usable(secret, id, secretPart, b.Clock.Now())
	if !ok {
		return nil, false, nil
	}
	return &identity.Response{User: &identity.User{Name: identity.BootstrapUserPrefix + id, Groups: groups}}, true, nil
}

func usable(s *corev1.Secret, id, secretPart string, now time.Time) (groups []string, ok bool) {
	get := func(key string) string { return string(s.Data[key]) }
	if s.DeletionTimestamp != nil || s.Type != corev1.SecretTypeBootstrapToken ||
		subtle.ConstantTimeCompare(s.Data["token-secret"], []byte(secretPart)) != 1 ||
		get("token-id") != id || get("usage-bootstrap-authentication") != "true" {
		return nil, false
	}
	if end := get("expiration"); end != "" {
		t, err := time.Parse(time.RFC3339, end)
		if err != nil || !now.Before(t) {
			return nil, false
		}
	}
	groups = []string{identity.BootstrapGroup}
	for _, g := range strings.Split(get("auth-extra-groups"), ",") {
		if g = strings.TrimSpace(g); g == "" || g == identity.BootstrapGroup {
			continue
		}
		if !bootstrapGroup.MatchString(g) {
			return nil, false // one bad group spoils the token: nobody shall guess which were meant
		}
		groups = append(groups, g)
	}
	return groups, true
}
