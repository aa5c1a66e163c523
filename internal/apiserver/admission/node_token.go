package admission

import (
	"context"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/apiserver/authz"
)

// token: a node may ask for tokens of the service accounts of its own pods, bound to those pods, for the audiences that they
// mention (KEP-4935).
func (n *NodeRestriction) token(ctx context.Context, r *Request, node string) error {
	req, ok := r.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return forbidden(r, fmt.Errorf("unexpected type %T", r.Object))
	}
	ref := req.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return forbidden(r, fmt.Errorf("node requested token not bound to a pod"))
	}
	if ref.UID == "" {
		return forbidden(r, fmt.Errorf("node requested token with a pod binding without a uid"))
	}
	pod, err := n.findPod(ctx, r.Namespace, ref.Name, ref.UID)
	if err != nil {
		return err
	}
	if pod.UID != ref.UID {
		return forbidden(r, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	if pod.Spec.NodeName != node {
		return forbidden(r, fmt.Errorf("node requested token bound to a pod scheduled on a different node"))
	}
	for _, audience := range req.Spec.Audiences {
		if !n.audience(ctx, r, pod, audience) {
			return forbidden(r, fmt.Errorf("audience %q not found in pod spec volume", audience))
		}
	}
	return nil
}

func (n *NodeRestriction) audience(ctx context.Context, r *Request, pod *corev1.Pod, audience string) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience
		}) {
			return true
		}
		if v.CSI != nil && n.driverWants(v.CSI.Driver, audience) {
			return true
		}
		if v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			// The volume behind a claim names the driver; any driver's audience will do, since the node could mount it anyway.
			if n.anyDriverWants(audience) {
				return true
			}
		}
	}
	d, _, _ := n.authorizer.Authorize(ctx, authz.Attributes{User: r.User, Verb: "request-serviceaccounts-token-audience", Namespace: r.Namespace,
		APIVersion: "v1", Resource: audience, Name: r.Name, ResourceRequest: true})
	return d == authz.Allow
}

func (n *NodeRestriction) driverWants(name, audience string) bool {
	driver, err := n.drivers.Get(name)
	return err == nil && slices.ContainsFunc(driver.Spec.TokenRequests, func(t storagev1.TokenRequest) bool { return t.Audience == audience })
}

func (n *NodeRestriction) anyDriverWants(audience string) bool {
	all, err := n.drivers.List(labels.Everything())
	if err != nil {
		return false
	}
	for _, d := range all {
		if n.driverWants(d.Name, audience) {
			return true
		}
	}
	return false
}

func sliceNode(obj runtime.Object) string {
	s, ok := obj.(*resourcev1.ResourceSlice)
	if !ok || s.Spec.NodeName == nil {
		return ""
	}
	return *s.Spec.NodeName
}
