package custom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"nau/internal/apiserver/hook"
)

// Poster sends a document to a webhook and returns its answer.
type Poster interface {
	Post(ctx context.Context, t *hook.Target, timeout time.Duration, doc []byte) ([]byte, error)
}

// patience bounds one call of a conversion webhook.
const patience = 30 * time.Second

// conversion turns objects of one version into those of another by a webhook.
type conversion struct {
	target hook.Target
	post   Poster
	review string // the version of ConversionReview
	crd    string
}

func newConversion(crd *apiextv1.CustomResourceDefinition, post Poster) *conversion {
	c := crd.Spec.Conversion
	if c == nil || c.Strategy != apiextv1.WebhookConverter || c.Webhook == nil {
		return nil
	}
	out := &conversion{post: post, crd: crd.Name}
	for _, v := range c.Webhook.ConversionReviewVersions {
		if v == "v1" || v == "v1beta1" {
			out.review = v
			break
		}
	}
	if conf := c.Webhook.ClientConfig; conf != nil {
		out.target.CABundle = conf.CABundle
		if conf.URL != nil {
			out.target.URL = *conf.URL
		}
		if s := conf.Service; s != nil {
			out.target.Namespace, out.target.Name = s.Namespace, s.Name
			if s.Port != nil {
				out.target.Port = *s.Port
			}
			if s.Path != nil {
				out.target.Path = *s.Path
			}
		}
	}
	return out
}

// ByWebhook tells whether conversions leave the process, so that many at once are better than one by one.
func (k *Kind) ByWebhook() bool { return k.conversion != nil }

// Convert gives objects in the shape of a version, in their order. Those that have it already are themselves; of the others the
// arguments are only read. With strategy None that is another name and the other version's pruning; a webhook may change
// everything but what an object is and its system's metadata.
func (k *Kind) Convert(objs []*unstructured.Unstructured, version string) ([]*unstructured.Unstructured, error) {
	want := k.Resource.Group + "/" + version
	out := make([]*unstructured.Unstructured, len(objs))
	var foreign []*unstructured.Unstructured
	for i, u := range objs {
		if u.GetAPIVersion() == want {
			out[i] = u
		} else {
			foreign = append(foreign, u)
		}
	}
	if len(foreign) == 0 {
		return out, nil
	}
	var converted []*unstructured.Unstructured
	if k.conversion == nil {
		for _, u := range foreign {
			c := u.DeepCopy()
			c.SetAPIVersion(want)
			converted = append(converted, c)
		}
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var err error
		if converted, err = k.conversion.call(ctx, foreign, want); err != nil {
			return nil, fmt.Errorf("conversion webhook for %s %s failed: %w", foreign[0].GroupVersionKind().GroupVersion(), foreign[0].GetKind(), err)
		}
	}
	v := k.versions[version]
	n := 0
	for i := range out {
		if out[i] != nil {
			continue
		}
		c := converted[n]
		n++
		if v != nil && v.structural != nil && !v.preserve {
			pruning.Prune(c.Object, v.structural, true)
		}
		out[i] = c
	}
	return out, nil
}

func (c *conversion) call(ctx context.Context, objs []*unstructured.Unstructured, want string) ([]*unstructured.Unstructured, error) {
	if c.post == nil {
		return nil, errors.New("this server calls no webhooks")
	}
	if c.review == "" {
		return nil, errors.New("it accepts no known version of ConversionReview (v1, v1beta1)")
	}
	uid := uuid.NewUUID()
	review := apiextv1.ConversionReview{TypeMeta: metav1.TypeMeta{Kind: "ConversionReview", APIVersion: "apiextensions.k8s.io/" + c.review},
		Request: &apiextv1.ConversionRequest{UID: uid, DesiredAPIVersion: want}}
	for _, u := range objs {
		b, err := u.MarshalJSON()
		if err != nil {
			return nil, err
		}
		review.Request.Objects = append(review.Request.Objects, runtime.RawExtension{Raw: b})
	}
	doc, err := json.Marshal(&review)
	if err != nil {
		return nil, err
	}
	back, err := c.post.Post(ctx, &c.target, patience, doc)
	if err != nil {
		return nil, err
	}
	return readConversion(back, c.review, uid, objs, want)
}

// readConversion checks an answer against what was asked (API docs, "Webhook conversion", response).
func readConversion(doc []byte, version string, uid types.UID, objs []*unstructured.Unstructured, want string) ([]*unstructured.Unstructured, error) {
	var review apiextv1.ConversionReview
	if err := json.Unmarshal(doc, &review); err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	r := review.Response
	if r == nil {
		return nil, errors.New("invalid response: it is absent")
	}
	if version == "v1" {
		if review.APIVersion != "apiextensions.k8s.io/v1" || review.Kind != "ConversionReview" {
			return nil, fmt.Errorf("invalid response: expected apiextensions.k8s.io/v1, Kind=ConversionReview, got %s, Kind=%s", review.APIVersion, review.Kind)
		}
		if r.UID != uid {
			return nil, fmt.Errorf("invalid response: expected response.uid=%q, got %q", uid, r.UID)
		}
	}
	if r.Result.Status != metav1.StatusSuccess {
		text := r.Result.Message
		if text == "" {
			text = "no reason given"
		}
		return nil, errors.New(text)
	}
	if len(r.ConvertedObjects) != len(objs) {
		return nil, fmt.Errorf("invalid response: expected %d converted objects, got %d", len(objs), len(r.ConvertedObjects))
	}
	out := make([]*unstructured.Unstructured, len(objs))
	for i, raw := range r.ConvertedObjects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw.Raw); err != nil {
			return nil, fmt.Errorf("invalid response: converted object at index %d: %w", i, err)
		}
		if err := sameIdentity(objs[i], u, want); err != nil {
			return nil, fmt.Errorf("invalid response: converted object at index %d: %w", i, err)
		}
		out[i] = u
	}
	return out, nil
}

// sameIdentity checks that a conversion kept what an object is, and gives the system's metadata back as it was: a webhook may
// change labels and annotations only.
func sameIdentity(from, to *unstructured.Unstructured, want string) error {
	if have := to.GetAPIVersion(); have != want {
		return fmt.Errorf("invalid apiVersion: expected=%v, got=%v", want, have)
	}
	if to.GetKind() != from.GetKind() {
		return fmt.Errorf("invalid kind: expected=%v, got=%v", from.GetKind(), to.GetKind())
	}
	meta, ok := to.Object["metadata"].(map[string]any)
	if !ok {
		return fmt.Errorf("invalid metadata: expected an object, got %T", to.Object["metadata"])
	}
	before, _ := from.Object["metadata"].(map[string]any)
	for _, name := range []string{"name", "namespace", "uid"} {
		if !reflect.DeepEqual(meta[name], before[name]) {
			return fmt.Errorf("metadata.%s may not change from %v to %v", name, before[name], meta[name])
		}
	}
	kept := runtime.DeepCopyJSON(before)
	for _, name := range []string{"labels", "annotations"} {
		delete(kept, name)
		switch v := meta[name].(type) {
		case nil:
		case map[string]any:
			for k, s := range v {
				if _, ok := s.(string); !ok {
					return fmt.Errorf("metadata.%s[%s]: expected a string, got %T", name, k, s)
				}
			}
			kept[name] = v
		default:
			return fmt.Errorf("metadata.%s: expected an object, got %T", name, v)
		}
	}
	to.Object["metadata"] = kept
	return nil
}
