package nodeagent

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// manifestLook is how often the folder of static pods is read. Source: the kubelet's fileCheckFrequency.
const manifestLook = 20 * time.Second

// followManifests runs the pods whose manifests lie in ManifestDir and shows them to the API server as mirrors.
func (a *Agent) followManifests(ctx context.Context) {
	t := a.cfg.Clock.NewTicker(manifestLook)
	defer t.Stop()
	for {
		a.readManifests(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C():
		}
	}
}

func (a *Agent) readManifests(ctx context.Context) {
	entries, err := os.ReadDir(a.cfg.ManifestDir)
	if err != nil {
		a.cfg.Log.Warn("read static pods", "err", err)
		return
	}
	want := map[string]*corev1.Pod{}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(a.cfg.ManifestDir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		pod, err := staticPod(b, path, a.cfg.NodeName, a.cfg.Hostname)
		if err != nil {
			a.cfg.Log.Warn("read static pod", "file", path, "err", err)
			continue
		}
		want[string(pod.UID)] = pod
	}
	a.mu.Lock()
	var gone, fresh []*worker
	for uid, w := range a.workers {
		if w.static && want[uid] == nil {
			gone = append(gone, w)
		}
	}
	for uid, pod := range want {
		if a.workers[uid] == nil {
			w := newWorker(a, uid)
			w.static, w.pod, w.obs = true, pod, a.found[uid]
			delete(a.found, uid)
			a.workers[uid] = w
			fresh = append(fresh, w)
		}
	}
	a.mu.Unlock()
	for _, w := range fresh {
		w.kick()
		a.mirror(ctx, w)
	}
	for _, w := range gone {
		zero := int64(0)
		if w.mirror != nil {
			_ = a.cfg.Client.CoreV1().Pods(w.pod.Namespace).Delete(ctx, w.pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
		}
		w.vanish(w.pod)
	}
}

// staticPod reads a manifest and gives it the identity that upstream gives it: the node's name behind its own, a UID from
// its content and place.
func staticPod(b []byte, path, node, hostname string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(b, pod); err != nil {
		return nil, err
	}
	if pod.Kind != "Pod" {
		return nil, fmt.Errorf("kind %q is not Pod", pod.Kind)
	}
	sum := md5.New()
	_, _ = fmt.Fprintf(sum, "host:%sfile:%s", node, path)
	_, _ = sum.Write(b)
	hash := hex.EncodeToString(sum.Sum(nil))
	pod.UID = types.UID(hash)
	pod.Name += "-" + strings.ToLower(hostname)
	if pod.Namespace == "" {
		pod.Namespace = corev1.NamespaceDefault
	}
	pod.Spec.NodeName = node
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations["kubernetes.io/config.source"] = "file"
	pod.Annotations["kubernetes.io/config.hash"] = hash
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	if pod.Spec.DNSPolicy == "" {
		pod.Spec.DNSPolicy = corev1.DNSClusterFirst
	}
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		thirty := int64(30)
		pod.Spec.TerminationGracePeriodSeconds = &thirty
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if c.ImagePullPolicy == "" {
				c.ImagePullPolicy = corev1.PullIfNotPresent
			}
			if c.TerminationMessagePath == "" {
				c.TerminationMessagePath, c.TerminationMessagePolicy = corev1.TerminationMessagePathDefault, corev1.TerminationMessageReadFile
			}
		}
	}
	return pod, nil
}

// mirror shows a static pod to the API server.
func (a *Agent) mirror(ctx context.Context, w *worker) {
	m := w.pod.DeepCopy()
	m.UID = ""
	m.Annotations[corev1.MirrorPodAnnotationKey] = w.uid
	if n := a.node.Object(); n != nil {
		yes := true
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID, Controller: &yes}}
	}
	got, err := a.cfg.Client.CoreV1().Pods(m.Namespace).Create(ctx, m, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		got, err = a.cfg.Client.CoreV1().Pods(m.Namespace).Get(ctx, m.Name, metav1.GetOptions{})
	}
	if err != nil {
		a.cfg.Log.Info("show static pod", "pod", m.Name, "err", err)
		return
	}
	a.mirrorChanged(got)
}

func (a *Agent) mirrorChanged(m *corev1.Pod) {
	w := a.worker(m.Annotations[corev1.MirrorPodAnnotationKey])
	if w == nil || !w.static {
		if m.DeletionTimestamp == nil && len(a.ready) == 0 {
			return // the manifest may be read later
		}
		return
	}
	w.mu.Lock()
	first := w.mirror == nil
	w.mirror = m
	w.base = m
	w.mu.Unlock()
	if m.DeletionTimestamp != nil { // somebody deleted the mirror: the static pod stays, and is shown again
		zero := int64(0)
		_ = a.cfg.Client.CoreV1().Pods(m.Namespace).Delete(a.ctx, m.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
		return
	}
	if first {
		w.kick()
	}
}

func (a *Agent) mirrorGone(m *corev1.Pod) {
	w := a.worker(m.Annotations[corev1.MirrorPodAnnotationKey])
	if w == nil {
		return
	}
	w.mu.Lock()
	w.mirror, w.base = nil, nil
	gone := w.gone
	w.mu.Unlock()
	if !gone {
		a.spawn(func() { a.mirror(a.ctx, w) })
	}
}

// staticLater tells whether an unknown pod of the runtime may be a static one whose manifest is not read yet: its UID is a
// hash, not a UUID.
func (a *Agent) staticLater(uid string) bool { return len(uid) == 32 && !strings.Contains(uid, "-") }
