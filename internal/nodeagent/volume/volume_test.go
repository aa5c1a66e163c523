package volume

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWriteAtomic(t *testing.T) {
	dir := t.TempDir()
	put := func(p Payload) bool {
		t.Helper()
		changed, err := writeAtomic(dir, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	if !put(Payload{"a": {Data: []byte("1"), Mode: 0o644}, "d/b": {Data: []byte("2"), Mode: 0o400}}) {
		t.Error("the first write changed nothing")
	}
	if read(t, dir+"/a") != "1" || read(t, dir+"/d/b") != "2" {
		t.Error("contents differ")
	}
	if st, err := os.Stat(dir + "/d/b"); err != nil || st.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v", st, err)
	}
	open, err := os.Open(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if put(Payload{"a": {Data: []byte("1"), Mode: 0o644}, "d/b": {Data: []byte("2"), Mode: 0o400}}) {
		t.Error("the same contents were written again")
	}
	if !put(Payload{"a": {Data: []byte("3"), Mode: 0o644}}) || read(t, dir+"/a") != "3" {
		t.Error("the change was not written")
	}
	if _, err := os.Lstat(dir + "/d"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a removed file is still there")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 3 { // ..data, its directory, a
		t.Errorf("left over: %v", entries)
	}
	for _, bad := range []string{"", "/x", "../x", "a/../../x", "..data", "..x"} {
		if _, err := writeAtomic(dir, Payload{bad: {}}, nil); err == nil {
			t.Errorf("path %q was taken", bad)
		}
	}
}

func FuzzValidPath(f *testing.F) {
	f.Add("a/../b")
	f.Fuzz(func(t *testing.T, s string) {
		if validPath(s) == nil {
			if c := filepath.Join("/root", s); !strings.HasPrefix(c, "/root/") && c != "/root" {
				t.Errorf("%q leads to %q", s, c)
			}
		}
	})
}

func TestOpenBeneath(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	for err := range map[error]bool{os.WriteFile(secret, []byte("s"), 0o600): true, os.Mkdir(dir+"/in", 0o755): true, os.WriteFile(dir+"/in/f", []byte("f"), 0o600): true,
		os.Symlink(secret, dir+"/out"): true, os.Symlink("in/f", dir+"/link"): true, os.Symlink("../..", dir+"/in/up"): true} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, ok := range map[string]bool{"in/f": true, "link": true, "out": false, "in/up": false, "in/up/etc/passwd": false, "../x": false, "/etc/passwd": false} {
		if _, err := readBeneath(dir, path, 10); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	root, err := unix.Open(dir, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	fd, err := makeBeneath(root, "new/deep/path")
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if st, err := os.Stat(dir + "/new/deep/path"); err != nil || !st.IsDir() {
		t.Errorf("the path was not made: %v", err)
	}
	if _, err := makeBeneath(root, "out/x"); err == nil {
		t.Error("a link led the way out")
	}
}

type world struct {
	maps    map[string]*corev1.ConfigMap
	secrets map[string]*corev1.Secret
	tokens  int
	now     time.Time
}

func (w *world) GetConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if m := w.maps[name]; m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}
func (w *world) GetSecret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if s := w.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}
func (w *world) Token(_ context.Context, _, _ string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	w.tokens++
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d,"n":%d}`, w.now.Unix(), w.now.Unix()+*r.Spec.ExpirationSeconds, w.tokens)
	r.Status.Token = "h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s"
	return r, nil
}
func (w *world) TrustBundle(context.Context, *corev1.ClusterTrustBundleProjection) (string, error) {
	return "", errors.New("none")
}
func (w *world) Claim(context.Context, string, string) (*corev1.PersistentVolume, bool, error) {
	return nil, false, errors.New("none")
}

func TestProjectedTokenIsRenewed(t *testing.T) {
	w := &world{now: time.Unix(1_000_000, 0), maps: map[string]*corev1.ConfigMap{"ca": {Data: map[string]string{"ca.crt": "C"}}}}
	k := &Keeper{Root: t.TempDir(), Objects: w, Allocatable: func() corev1.ResourceList { return nil }, Now: func() time.Time { return w.now }}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u", Labels: map[string]string{"a": "b"}}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "ca"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
	}}}}}
	out, next, err := k.Mount(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	dir := out["v"].Path
	if !out["v"].ReadOnly || read(t, dir+"/ca.crt") != "C" || read(t, dir+"/labels") != `a="b"` || next != w.now.Add(48*time.Minute) {
		t.Errorf("volume %+v, next %v", out["v"], next)
	}
	first := read(t, dir+"/token")
	w.now = w.now.Add(40 * time.Minute)
	if _, _, err := k.Mount(t.Context(), pod); err != nil || read(t, dir+"/token") != first || w.tokens != 1 {
		t.Errorf("a young token was not kept: %v", err)
	}
	w.now = next
	if _, _, err := k.Mount(t.Context(), pod); err != nil || read(t, dir+"/token") == first {
		t.Errorf("an old token was not renewed: %v", err)
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "missing", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}})
	if _, _, err := k.Mount(t.Context(), pod); err == nil || err.Error() != `MountVolume.SetUp failed for volume "missing" : configmaps "x" not found` {
		t.Errorf("missing: %v", err)
	}
	if err := k.Unmount("u"); err != nil || len(k.Pods()) != 0 {
		t.Errorf("unmount: %v, left %v", err, k.Pods())
	}
}
