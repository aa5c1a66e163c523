package images

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"nau/internal/nodeagent/life"
)

// Problem is why an image is not there, in the words of a container's waiting state.
type Problem struct {
	Reason, Message string
	Pulled          bool // a pull was tried and failed: the caller backs off
}

func (p *Problem) Error() string { return p.Reason + ": " + p.Message }

// Puller brings images.
type Puller struct {
	service  runtimeapi.ImageServiceClient
	clock    clock.PassiveClock
	nodeAuth string
	slots    chan struct{}
	pulled   func()
}

// New returns a puller that lets parallel pulls run at once and reads the node's own credentials from the file nodeAuth at
// each pull, if it exists. It calls pulled after each pull.
func New(service runtimeapi.ImageServiceClient, c clock.PassiveClock, nodeAuth string, parallel int, pulled func()) *Puller {
	return &Puller{service: service, clock: c, nodeAuth: nodeAuth, slots: make(chan struct{}, max(parallel, 1)), pulled: pulled}
}

// Request is one image that a container wants.
type Request struct {
	Image   string
	Policy  corev1.PullPolicy
	Handler string
	Secrets []Credential
	Sandbox *runtimeapi.PodSandboxConfig
	BackOff life.BackOff // of this image in this pod
	Last    string       // the last failure, for the back-off's message
	Event   func(kind, reason, message string)
}

// Ensure returns the image once it is on the node. The error is a *Problem unless ctx ended.
func (p *Puller) Ensure(ctx context.Context, r Request) (*runtimeapi.Image, error) {
	name, registry, repository, err := parse(r.Image)
	if err != nil {
		msg := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", r.Image, r.Image, err)
		r.Event(corev1.EventTypeWarning, "InspectFailed", msg)
		return nil, &Problem{Reason: "InvalidImageName", Message: msg}
	}
	spec := &runtimeapi.ImageSpec{Image: name, UserSpecifiedImage: r.Image, RuntimeHandler: r.Handler}
	st, err := p.service.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: spec})
	if err != nil {
		msg := fmt.Sprintf("Failed to inspect image %q: %v", r.Image, err)
		r.Event(corev1.EventTypeWarning, "InspectFailed", msg)
		return nil, &Problem{Reason: "ImageInspectError", Message: msg}
	}
	if st.Image != nil && r.Policy != corev1.PullAlways {
		r.Event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", r.Image))
		return st.Image, nil
	}
	if r.Policy == corev1.PullNever {
		msg := fmt.Sprintf("Container image %q is not present with pull policy of Never", r.Image)
		r.Event(corev1.EventTypeWarning, "ErrImageNeverPull", msg)
		return nil, &Problem{Reason: "ErrImageNeverPull", Message: msg}
	}
	if p.clock.Now().Before(r.BackOff.Until(r.BackOff.Updated)) {
		msg := fmt.Sprintf("Back-off pulling image %q", r.Image)
		r.Event(corev1.EventTypeNormal, "BackOff", msg)
		if r.Last != "" {
			msg += ": ErrImagePull: " + r.Last
		}
		return nil, &Problem{Reason: "ImagePullBackOff", Message: msg}
	}
	asked := p.clock.Now()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.slots }()
	r.Event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", r.Image))
	began := p.clock.Now()
	err = p.pull(ctx, spec, registry, repository, r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		msg := message(err)
		r.Event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", r.Image, msg))
		reason := "ErrImagePull"
		switch {
		case strings.Contains(msg, "RegistryUnavailable"):
			reason = "RegistryUnavailable"
		case strings.Contains(msg, "SignatureValidationFailed"):
			reason = "SignatureValidationFailed"
		}
		return nil, &Problem{Reason: reason, Message: msg, Pulled: true}
	}
	p.pulled()
	now := p.clock.Now()
	if st, err = p.service.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: spec}); err != nil || st.Image == nil {
		msg := fmt.Sprintf("Failed to inspect image %q: the runtime does not know it after the pull: %v", r.Image, err)
		return nil, &Problem{Reason: "ImageInspectError", Message: msg}
	}
	r.Event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.",
		r.Image, now.Sub(began).Truncate(time.Millisecond), now.Sub(asked).Truncate(time.Millisecond), st.Image.Size))
	return st.Image, nil
}

// message is a gRPC error's own text.
func message(err error) string {
	s := err.Error()
	if _, after, ok := strings.Cut(s, " desc = "); ok && strings.HasPrefix(s, "rpc error:") {
		return after
	}
	return s
}

func (p *Puller) pull(ctx context.Context, spec *runtimeapi.ImageSpec, registry, repository string, r Request) error {
	all := r.Secrets
	if data, err := os.ReadFile(p.nodeAuth); err == nil {
		if node, err := ParseDockerConfig(data, false); err == nil {
			all = append(all[:len(all):len(all)], node...)
		}
	}
	var first error
	tried := false
	for i := range all {
		if !all[i].For(registry, repository) {
			continue
		}
		tried = true
		auth := &runtimeapi.AuthConfig{Username: all[i].Auth.Username, Password: all[i].Auth.Password, IdentityToken: all[i].Auth.IdentityToken,
			RegistryToken: all[i].Auth.RegistryToken, ServerAddress: all[i].Host}
		_, err := p.service.PullImage(ctx, &runtimeapi.PullImageRequest{Image: spec, Auth: auth, SandboxConfig: r.Sandbox})
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			return first
		}
	}
	if tried {
		return first
	}
	_, err := p.service.PullImage(ctx, &runtimeapi.PullImageRequest{Image: spec, SandboxConfig: r.Sandbox})
	return err
}

// parse checks an image's name and returns it with a tag, its registry and its repository there.
func parse(image string) (name, registry, repository string, err error) {
	n, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", "", "", err
	}
	name = image
	if reference.IsNameOnly(n) {
		name += ":latest"
	}
	return name, reference.Domain(n), reference.Path(n), nil
}
