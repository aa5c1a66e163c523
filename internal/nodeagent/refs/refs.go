// Package refs keeps the ConfigMaps and Secrets that the node's pods refer to, and exactly those: one watch an object, as
// long as some pod holds it.
//
// It is not a general informer: nothing is listed beyond single names, so that the node authorizer lets it. Only nodeagent
// imports it.
package refs

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// Kind is what a Key names.
type Kind uint8

// The kinds that pods refer to.
const (
	ConfigMap Kind = iota
	Secret
)

func (k Kind) resource() schema.GroupResource {
	return schema.GroupResource{Resource: [...]string{"configmaps", "secrets"}[k]}
}

// Key names one object.
type Key struct {
	Kind            Kind
	Namespace, Name string
}

// Cache holds referenced objects. Changed is called, without locks held, with the holders of an object that changed.
type Cache struct {
	client  kubernetes.Interface
	changed func(holder string)
	ctx     context.Context

	mu      sync.Mutex
	entries map[Key]*entry
	held    map[string][]Key
}

type entry struct {
	cancel  context.CancelFunc
	holders map[string]struct{}
	known   chan struct{} // closed once obj or missing is known for the first time
	obj     runtime.Object
	missing bool
	err     error // of the last attempt while nothing is known
}

// New returns an empty cache whose watches end with ctx.
func New(ctx context.Context, client kubernetes.Interface, changed func(holder string)) *Cache {
	return &Cache{client: client, changed: changed, ctx: ctx, entries: map[Key]*entry{}, held: map[string][]Key{}}
}

// Hold makes holder refer to exactly keys from now on.
func (c *Cache) Hold(holder string, keys []Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	want := make(map[Key]bool, len(keys))
	for _, k := range keys {
		want[k] = true
		e := c.entries[k]
		if e == nil {
			ctx, cancel := context.WithCancel(c.ctx)
			e = &entry{cancel: cancel, holders: map[string]struct{}{}, known: make(chan struct{})}
			c.entries[k] = e
			go c.follow(ctx, k, e)
		}
		e.holders[holder] = struct{}{}
	}
	for _, k := range c.held[holder] {
		if want[k] {
			continue
		}
		if e := c.entries[k]; e != nil {
			delete(e.holders, holder)
			if len(e.holders) == 0 {
				e.cancel()
				delete(c.entries, k)
			}
		}
	}
	if len(keys) == 0 {
		delete(c.held, holder)
	} else {
		c.held[holder] = keys
	}
}

// Release is Hold with nothing.
func (c *Cache) Release(holder string) { c.Hold(holder, nil) }

// GetConfigMap returns an object that somebody holds; others are read from the API server.
func (c *Cache) GetConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	o, err := c.get(ctx, Key{ConfigMap, namespace, name})
	if err != nil {
		return nil, err
	}
	return o.(*corev1.ConfigMap), nil
}

// GetSecret is GetConfigMap for Secrets.
func (c *Cache) GetSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	o, err := c.get(ctx, Key{Secret, namespace, name})
	if err != nil {
		return nil, err
	}
	return o.(*corev1.Secret), nil
}

func (c *Cache) get(ctx context.Context, k Key) (runtime.Object, error) {
	c.mu.Lock()
	e := c.entries[k]
	c.mu.Unlock()
	if e == nil {
		switch k.Kind {
		case ConfigMap:
			return c.client.CoreV1().ConfigMaps(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		default:
			return c.client.CoreV1().Secrets(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-e.known:
	case <-ctx.Done():
		c.mu.Lock()
		err := e.err
		c.mu.Unlock()
		if err == nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("read %s %s/%s: %w", k.Kind.resource().Resource, k.Namespace, k.Name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.missing {
		return nil, apierrors.NewNotFound(k.Kind.resource(), k.Name)
	}
	return e.obj, nil
}

// follow lists and watches one object until ctx ends.
func (c *Cache) follow(ctx context.Context, k Key, e *entry) {
	delay := 100 * time.Millisecond
	for ctx.Err() == nil {
		if err := c.stream(ctx, k, e); err == nil {
			delay = 100 * time.Millisecond
			continue // the server ended the watch in its own time
		} else if ctx.Err() == nil {
			c.mu.Lock()
			e.err = err
			c.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			delay = min(2*delay, 10*time.Second)
		}
	}
}

func (c *Cache) stream(ctx context.Context, k Key, e *entry) error {
	opts := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, k.Name).String()}
	var w watch.Interface
	var found runtime.Object
	var err error
	switch k.Kind {
	case ConfigMap:
		l, lerr := c.client.CoreV1().ConfigMaps(k.Namespace).List(ctx, opts)
		if lerr != nil {
			return lerr
		}
		for i := range l.Items {
			if l.Items[i].Name == k.Name {
				found = &l.Items[i]
			}
		}
		opts.ResourceVersion = l.ResourceVersion
		w, err = c.client.CoreV1().ConfigMaps(k.Namespace).Watch(ctx, opts)
	default:
		l, lerr := c.client.CoreV1().Secrets(k.Namespace).List(ctx, opts)
		if lerr != nil {
			return lerr
		}
		for i := range l.Items {
			if l.Items[i].Name == k.Name {
				found = &l.Items[i]
			}
		}
		opts.ResourceVersion = l.ResourceVersion
		w, err = c.client.CoreV1().Secrets(k.Namespace).Watch(ctx, opts)
	}
	if err != nil {
		return err
	}
	defer w.Stop()
	c.set(e, found)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			switch ev.Type {
			case watch.Added, watch.Modified, watch.Deleted:
				acc, ok := ev.Object.(metav1.Object)
				if !ok || acc.GetName() != k.Name {
					continue
				}
				if ev.Type == watch.Deleted {
					c.set(e, nil)
				} else {
					c.set(e, ev.Object)
				}
			case watch.Error:
				return apierrors.FromObject(ev.Object)
			}
		}
	}
}

// set records what is known of an entry and tells its holders when that is news.
func (c *Cache) set(e *entry, obj runtime.Object) {
	c.mu.Lock()
	news := false
	select {
	case <-e.known:
		news = version(e.obj) != version(obj)
	default:
		close(e.known)
	}
	e.obj, e.missing, e.err = obj, obj == nil, nil
	var tell []string
	if news {
		for h := range e.holders {
			tell = append(tell, h)
		}
	}
	c.mu.Unlock()
	for _, h := range tell {
		c.changed(h)
	}
}

func version(o runtime.Object) string {
	if acc, ok := o.(metav1.Object); ok && o != nil {
		return string(acc.GetUID()) + "/" + acc.GetResourceVersion()
	}
	return ""
}

// Of lists what a pod refers to: volumes, environments and pull secrets.
func Of(pod *corev1.Pod) []Key {
	var out []Key
	seen := map[Key]bool{}
	add := func(kind Kind, name string) {
		k := Key{kind, pod.Namespace, name}
		if name != "" && !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			add(ConfigMap, v.ConfigMap.Name)
		case v.Secret != nil:
			add(Secret, v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					add(ConfigMap, s.ConfigMap.Name)
				}
				if s.Secret != nil {
					add(Secret, s.Secret.Name)
				}
			}
		}
	}
	env := func(from []corev1.EnvFromSource, env []corev1.EnvVar) {
		for _, f := range from {
			if f.ConfigMapRef != nil {
				add(ConfigMap, f.ConfigMapRef.Name)
			}
			if f.SecretRef != nil {
				add(Secret, f.SecretRef.Name)
			}
		}
		for _, e := range env {
			if e.ValueFrom == nil {
				continue
			}
			if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
				add(ConfigMap, r.Name)
			}
			if r := e.ValueFrom.SecretKeyRef; r != nil {
				add(Secret, r.Name)
			}
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			env(list[i].EnvFrom, list[i].Env)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		env(pod.Spec.EphemeralContainers[i].EnvFrom, pod.Spec.EphemeralContainers[i].Env)
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		add(Secret, s.Name)
	}
	return out
}
