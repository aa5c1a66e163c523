package deployment

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/dump"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
)

// The annotations by which kubectl and this controller remember, on the sets and
// on the deployment.
const (
	RevisionAnnotation        = "deployment.kubernetes.io/revision"
	RevisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	DesiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	MaxAnnotation             = "deployment.kubernetes.io/max-replicas"

	rollbackAnnotation = "deprecated.deployment.rollback.to"
	historyLength      = 2000 // characters
)

// notCopied are the annotations that stay with the deployment.
var notCopied = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true,
	RevisionAnnotation:                 true,
	RevisionHistoryAnnotation:          true,
	DesiredAnnotation:                  true,
	MaxAnnotation:                      true,
	rollbackAnnotation:                 true,
}

func size(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func setSize(set *appsv1.ReplicaSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}

func sizes(sets []*appsv1.ReplicaSet) (n int32) {
	for _, set := range sets {
		n += setSize(set)
	}
	return n
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, set := range sets {
		if setSize(set) > 0 {
			out = append(out, set)
		}
	}
	return out
}

func olderFirst(a, b *appsv1.ReplicaSet) int {
	if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// fenceposts are the surge, rounded up, and the unavailable, rounded down; one of
// them is at least 1, or nothing could move. (DeploymentSpec.strategy)
func fenceposts(d *appsv1.Deployment) (surge, unavailable int32) {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || size(d) == 0 {
		return 0, 0
	}
	quarter := intstr.FromString("25%")
	s, u := &quarter, &quarter
	if r := d.Spec.Strategy.RollingUpdate; r != nil {
		if r.MaxSurge != nil {
			s = r.MaxSurge
		}
		if r.MaxUnavailable != nil {
			u = r.MaxUnavailable
		}
	}
	n := int(size(d))
	a, err := intstr.GetScaledValueFromIntOrPercent(s, n, true)
	if err != nil {
		a = 0 // validation does not let it through
	}
	b, err := intstr.GetScaledValueFromIntOrPercent(u, n, false)
	if err != nil {
		b = 0
	}
	if a == 0 && b == 0 {
		b = 1
	}
	return int32(a), int32(min(b, n))
}

// newSize is how large the new set may be beside the others.
func newSize(d *appsv1.Deployment, all []*appsv1.ReplicaSet, set *appsv1.ReplicaSet) int32 {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return size(d)
	}
	surge, _ := fenceposts(d)
	room := size(d) + surge - sizes(all)
	if room <= 0 {
		return setSize(set)
	}
	return setSize(set) + min(room, size(d)-setSize(set))
}

// newSet makes the set of the deployment's template, of size 0.
func newSet(d *appsv1.Deployment) *appsv1.ReplicaSet {
	template := *d.Spec.Template.DeepCopy()
	hash := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	template.Labels = with(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = with(selector.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       d.Namespace,
			Name:            d.Name + "-" + hash,
			Labels:          maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        new(int32),
			MinReadySeconds: d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        template,
		},
	}
}

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// templateHash is upstream's: 32 bits of FNV over the printed template, and over
// the collision count if there is one, in letters that spell no words.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%v", dump.ForHash(*template))
	if collisions != nil {
		var b [8]byte
		binary.LittleEndian.PutUint32(b[:], uint32(*collisions))
		h.Write(b[:])
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// sameTemplate compares but for the label that the hash is written in.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	strip := func(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
		c := *t
		if _, ok := c.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; ok {
			c.Labels = maps.Clone(c.Labels)
			delete(c.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		}
		return &c
	}
	return equality.Semantic.DeepEqual(strip(a), strip(b))
}

func revisionOf(set *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(set.Annotations[RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func maxRevision(sets []*appsv1.ReplicaSet) (n int64) {
	for _, set := range sets {
		n = max(n, revisionOf(set))
	}
	return n
}

// annotate copies the deployment's annotations and raises the revision, noting
// the one before; it tells whether anything changed.
func annotate(d *appsv1.Deployment, set *appsv1.ReplicaSet, revision int64) (changed bool) {
	put := func(key, value string) {
		if v, ok := set.Annotations[key]; !ok || v != value {
			set.Annotations = with(set.Annotations, key, value)
			changed = true
		}
	}
	for k, v := range d.Annotations {
		if !notCopied[k] {
			put(k, v)
		}
	}
	before, had := set.Annotations[RevisionAnnotation]
	if revisionOf(set) >= revision {
		return changed
	}
	put(RevisionAnnotation, strconv.FormatInt(revision, 10))
	if had {
		history := before
		if h := set.Annotations[RevisionHistoryAnnotation]; h != "" {
			history = h + "," + before
		}
		for len(history) > historyLength {
			_, rest, ok := strings.Cut(history, ",")
			if !ok {
				break
			}
			history = rest
		}
		put(RevisionHistoryAnnotation, history)
	}
	return changed
}

// markSizes writes down what the set's size was decided from.
func markSizes(set *appsv1.ReplicaSet, d *appsv1.Deployment) (changed bool) {
	surge, _ := fenceposts(d)
	for key, n := range map[string]int32{DesiredAnnotation: size(d), MaxAnnotation: size(d) + surge} {
		if v := strconv.Itoa(int(n)); set.Annotations[key] != v {
			set.Annotations = with(set.Annotations, key, v)
			changed = true
		}
	}
	return changed
}
