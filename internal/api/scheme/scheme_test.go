package scheme

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"nau/internal/house/spent"
)

func TestStorageBytesGoRound(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b"}, Spec: corev1.PodSpec{NodeName: "n"}}
	raw, err := EncodeStorage(pod, corev1.SchemeGroupVersion.WithKind("Pod"))
	if err != nil {
		t.Fatal(err)
	}
	if string(raw[:4]) != "k8s\x00" {
		t.Errorf("prefix %q", raw[:4])
	}
	var back corev1.Pod
	if err := DecodeStorage(raw, &back); err != nil {
		t.Fatal(err)
	}
	if back.GetObjectKind().SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod")); !cmp.Equal(pod, &back) {
		t.Error(cmp.Diff(pod, &back))
	}
	if err := DecodeStorage(raw, &corev1.Node{}); err == nil {
		t.Error("a pod was read as a node")
	}
	if err := DecodeStorage([]byte(`{"kind":"Pod","apiVersion":"v1","spec":{"nodeName":"j"}}`), &back); err != nil || back.Spec.NodeName != "j" {
		t.Errorf("JSON: %v, node %q", err, back.Spec.NodeName)
	}
}

func TestStrictDecodingNamesWhatIsUnknown(t *testing.T) {
	s, _ := ForMediaType("application/json; charset=utf-8", true)
	_, _, err := s.Decode([]byte(`{"kind":"Pod","apiVersion":"v1","spec":{"nodeNme":"x","hostIPC":true,"hostIPC":false}}`), nil, nil)
	if !runtime.IsStrictDecodingError(err) {
		t.Fatalf("got %v", err)
	}
	want := `strict decoding error: unknown field "spec.nodeNme", duplicate field "spec.hostIPC"`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if _, ok := ForMediaType("text/html", false); ok {
		t.Error("text/html has a serializer")
	}
}

func TestOptionsAreReadFromQueries(t *testing.T) {
	var logs corev1.PodLogOptions
	query := url.Values{"container": {"c"}, "follow": {"true"}, "tailLines": {"7"}, "sinceTime": {"2026-01-02T03:04:05Z"}, "timestamps": {"0"}}
	if err := ParameterCodec.DecodeParameters(query, corev1.SchemeGroupVersion, &logs); err != nil {
		t.Fatal(err)
	}
	if logs.Container != "c" || !logs.Follow || logs.Timestamps || ptr.Deref(logs.TailLines, 0) != 7 || logs.SinceTime.Year() != 2026 {
		t.Errorf("got %+v", logs)
	}
	var exec corev1.PodExecOptions
	if err := ParameterCodec.DecodeParameters(url.Values{"command": {"sh", "-c"}, "stdin": {""}}, corev1.SchemeGroupVersion, &exec); err != nil {
		t.Fatal(err)
	}
	if len(exec.Command) != 2 || !exec.Stdin {
		t.Errorf("got %+v", exec)
	}
	if err := ParameterCodec.DecodeParameters(url.Values{"tailLines": {"x"}}, corev1.SchemeGroupVersion, &logs); err == nil {
		t.Error("tailLines=x was read")
	}
	var list metav1.ListOptions
	if err := ParameterCodec.DecodeParameters(url.Values{"labelSelector": {"a=b"}, "limit": {"5"}}, metav1.SchemeGroupVersion, &list); err != nil || list.Limit != 5 {
		t.Errorf("list options: %v %+v", err, list)
	}
}

func FuzzDecode(f *testing.F) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	raw, err := EncodeStorage(pod, corev1.SchemeGroupVersion.WithKind("Pod"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, uint8(0))
	f.Add([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}`), uint8(1))
	f.Add([]byte("kind: Pod\napiVersion: v1\nspec: {containers: [{name: a}]}\n"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, form uint8) {
		media := []string{Protobuf, JSON, YAML}[form%3]
		s, _ := ForMediaType(media, form&4 != 0)
		spent.On(t, len(data), func() {
			if obj, _, err := s.Decode(data, nil, nil); err == nil && obj == nil {
				t.Fatal("neither object nor error")
			}
		})
	})
}
