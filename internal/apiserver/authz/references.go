package authz

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

type refKind uint8

const (
	secretRef refKind = iota
	configMapRef
	claimRef
	accountRef
	resourceClaimRef
)

// ref is something that pods refer to by name.
type ref struct {
	kind            refKind
	namespace, name string
}

// References knows which node's pods refer to what. Every answer is a look-up; every change of a pod touches only its node's counts.
type References struct {
	mu    sync.RWMutex
	nodes map[string]*nodeRefs
	pods  map[types.NamespacedName]*podRefs
	// volumes by name, and by what they mention: a volume's claim, and the secrets that its driver needs on the node.
	volumes     map[string]*volumeRefs
	bySecret    map[ref]map[string]struct{} // secret → volume names
	attachments map[string]string           // attachment → node
}

type nodeRefs struct {
	counts map[ref]int32
	pods   map[types.NamespacedName]struct{}
	news   chan struct{} // closed at the next change; nil while nobody listens
}

// podRefs is what is counted for a pod now.
type podRefs struct {
	uid  types.UID
	node string
	refs []ref
	// ephemeral and claims say whether the reference list may be out of date.
	ephemeral, claims int
}

type volumeRefs struct {
	claim   ref
	secrets []ref
}

// NewReferences makes an empty index.
func NewReferences() *References {
	return &References{nodes: map[string]*nodeRefs{}, pods: map[types.NamespacedName]*podRefs{},
		volumes: map[string]*volumeRefs{}, bySecret: map[ref]map[string]struct{}{}, attachments: map[string]string{}}
}

// Follow keeps the index at what the factory's informers see. The answer tells whether the first lists have arrived.
func (r *References) Follow(f informers.SharedInformerFactory) (synced cache.InformerSynced, err error) {
	return follow("pods and volumes", r, f.Core().V1().Pods().Informer(), f.Core().V1().PersistentVolumes().Informer(), f.Storage().V1().VolumeAttachments().Informer())
}

// Set takes in a new or changed *Pod, *PersistentVolume or *VolumeAttachment.
func (r *References) Set(obj any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch o := obj.(type) {
	case *corev1.Pod:
		r.setPod(o)
	case *corev1.PersistentVolume:
		r.removeVolume(o.Name)
		r.setVolume(o)
	case *storagev1.VolumeAttachment:
		r.attachments[o.Name] = o.Spec.NodeName
		r.tell(o.Spec.NodeName)
	}
}

// Remove takes out what Set took in.
func (r *References) Remove(obj any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch o := obj.(type) {
	case *corev1.Pod:
		r.removePod(types.NamespacedName{Namespace: o.Namespace, Name: o.Name})
	case *corev1.PersistentVolume:
		r.removeVolume(o.Name)
	case *storagev1.VolumeAttachment:
		delete(r.attachments, o.Name)
	}
}

func (r *References) setPod(p *corev1.Pod) {
	key := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	if old := r.pods[key]; old != nil {
		if old.uid == p.UID && old.node == p.Spec.NodeName && old.ephemeral == len(p.Spec.EphemeralContainers) && old.claims == len(p.Status.ResourceClaimStatuses) {
			return
		}
		r.removePod(key)
	}
	if p.Spec.NodeName == "" {
		return
	}
	refs := podReferences(p)
	r.pods[key] = &podRefs{p.UID, p.Spec.NodeName, refs, len(p.Spec.EphemeralContainers), len(p.Status.ResourceClaimStatuses)}
	n := r.node(p.Spec.NodeName)
	n.pods[key] = struct{}{}
	for _, x := range refs {
		n.counts[x]++
	}
	r.tell(p.Spec.NodeName)
}

func (r *References) removePod(key types.NamespacedName) {
	old := r.pods[key]
	if old == nil {
		return
	}
	delete(r.pods, key)
	n := r.nodes[old.node]
	delete(n.pods, key)
	for _, x := range old.refs {
		if n.counts[x]--; n.counts[x] <= 0 {
			delete(n.counts, x)
		}
	}
	if len(n.pods) == 0 && n.news == nil {
		delete(r.nodes, old.node)
	}
}

func (r *References) setVolume(v *corev1.PersistentVolume) {
	c := v.Spec.ClaimRef
	if c == nil {
		return
	}
	out := &volumeRefs{claim: ref{claimRef, c.Namespace, c.Name}}
	for _, s := range volumeSecrets(v) {
		out.secrets = append(out.secrets, s)
		if r.bySecret[s] == nil {
			r.bySecret[s] = map[string]struct{}{}
		}
		r.bySecret[s][v.Name] = struct{}{}
	}
	r.volumes[v.Name] = out
}

func (r *References) removeVolume(name string) {
	old := r.volumes[name]
	if old == nil {
		return
	}
	delete(r.volumes, name)
	for _, s := range old.secrets {
		delete(r.bySecret[s], name)
		if len(r.bySecret[s]) == 0 {
			delete(r.bySecret, s)
		}
	}
}

func (r *References) node(name string) *nodeRefs {
	n := r.nodes[name]
	if n == nil {
		n = &nodeRefs{counts: map[ref]int32{}, pods: map[types.NamespacedName]struct{}{}}
		r.nodes[name] = n
	}
	return n
}

func (r *References) tell(node string) {
	if n := r.nodes[node]; n != nil && n.news != nil {
		close(n.news)
		n.news = nil
	}
}

// news is closed at the next change that concerns the node.
func (r *References) news(node string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.node(node)
	if n.news == nil {
		n.news = make(chan struct{})
	}
	return n.news
}

func (r *References) has(node string, x ref) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := r.nodes[node]
	if n == nil {
		return false
	}
	if n.counts[x] > 0 {
		return true
	}
	if x.kind == secretRef {
		for v := range r.bySecret[x] {
			if n.counts[r.volumes[v].claim] > 0 {
				return true
			}
		}
	}
	return false
}

func (r *References) hasVolume(node, volume string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n, v := r.nodes[node], r.volumes[volume]
	return n != nil && v != nil && n.counts[v.claim] > 0
}

func (r *References) hasAttachment(node, attachment string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return node != "" && r.attachments[attachment] == node
}

func (r *References) hasPod(node, namespace, name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p := r.pods[types.NamespacedName{Namespace: namespace, Name: name}]
	return p != nil && p.node == node
}
