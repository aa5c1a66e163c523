package builtin_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/randfill"

	"nau/internal/api"
	"nau/internal/api/builtin"
	"nau/internal/api/scheme"
)

// filler makes random objects that survive their encodings.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.3).NumElements(1, 3).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(1e9), resource.DecimalSI)
		},
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(c.Int63n(1<<32), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.NewMicroTime(time.Unix(c.Int63n(1<<32), 0))
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = intstr.FromInt32(c.Int31n(70000))
			if c.Bool() {
				*v = intstr.FromString(fmt.Sprintf("%d%%", c.Intn(200)))
			}
		},
		func(f *metav1.FieldsV1, c randfill.Continue) { *f = metav1.FieldsV1{Raw: []byte("{}")} },
		func(j *apiextensionsv1.JSON, c randfill.Continue) { *j = apiextensionsv1.JSON{Raw: []byte(`7`)} },
		func(r *runtime.RawExtension, c randfill.Continue) {
			*r = runtime.RawExtension{Raw: []byte(`{"a":"b"}`)}
		},
		func(m *metav1.ObjectMeta, c randfill.Continue) {
			m.Name, m.Namespace, m.UID = "name", "ns", types.UID(fmt.Sprint(c.Int63()))
			m.ResourceVersion = "7"
			m.Labels = map[string]string{"a": c.String(3)}
			m.CreationTimestamp = metav1.Unix(c.Int63n(1<<31), 0)
		},
		func(s *string, c randfill.Continue) {
			*s = []string{"", "a", "A B", "cpu", "a/b", "10.0.0.1", "fd00::1", "*", "1", "Always", "TCP"}[c.Intn(11)]
		},
	)
}

// every runs what the server runs on an object's way, for one version of a resource.
func every(t *testing.T, r *api.Resource, v *api.Version, obj, old runtime.Object) {
	t.Helper()
	now := time.Unix(1<<31, 0)
	stored := func(o runtime.Object) runtime.Object {
		if v.Default != nil {
			v.Default(o)
		}
		if v.ToStorage == nil {
			return o
		}
		out, err := v.ToStorage(o)
		if err != nil {
			t.Skipf("convert: %v", err)
		}
		return out
	}
	n, o := stored(obj), stored(old)
	s := &r.Strategy
	if s.PrepareCreate != nil {
		s.PrepareCreate(o)
		fresh := n.DeepCopyObject()
		s.PrepareCreate(fresh)
	}
	if s.Validate != nil {
		s.Validate(n)
	}
	if s.Warnings != nil {
		s.Warnings(n, nil)
		s.Warnings(n, o)
	}
	before := o.DeepCopyObject()
	if s.ValidateUpdate != nil {
		s.ValidateUpdate(n.DeepCopyObject(), o)
	}
	for i := range r.Subresources {
		sub := &r.Subresources[i]
		c := n.DeepCopyObject()
		if sub.PrepareUpdate != nil {
			sub.PrepareUpdate(c, o)
		}
		if sub.ValidateUpdate != nil {
			sub.ValidateUpdate(c, o)
		}
		if sub.Scale != nil {
			sub.Scale.Set(c, 3)
			if spec, _, err := sub.Scale.Get(c); err == nil && spec.Replicas != 3 {
				t.Errorf("%s: scaled to 3, reads %d", r.Kind, spec.Replicas)
			}
		}
	}
	c := n.DeepCopyObject()
	if s.PrepareUpdate != nil {
		s.PrepareUpdate(c, o)
	}
	if !apiequality.Semantic.DeepEqual(o, before) {
		t.Errorf("%s: the old object was changed", r.Kind)
	}
	if s.Grace != nil {
		s.Grace(n, nil)
	}
	if r.Fields != nil {
		r.Fields(n)
	}
	for _, col := range r.Columns {
		switch col.Value(n, now).(type) {
		case string, int64, bool, nil:
		default:
			t.Errorf("%s: column %s has a %T", r.Kind, col.Name, col.Value(n, now))
		}
	}
	if v.FromStorage != nil {
		if _, err := v.FromStorage(n); err != nil {
			t.Errorf("%s %s: convert back: %v", r.Kind, v.Name, err)
		}
	}
}

func TestAnythingGoesThrough(t *testing.T) {
	for _, r := range builtin.Table() {
		if r.Virtual {
			continue
		}
		for i := range r.Versions {
			v := &r.Versions[i]
			t.Run(r.Kind+"/"+v.Name, func(t *testing.T) {
				every(t, r, v, v.New(), v.New())
				for seed := range int64(15) {
					f := filler(seed)
					a, b := v.New(), v.New()
					f.Fill(a)
					f.Fill(b)
					every(t, r, v, a, b)
					every(t, r, v, a.DeepCopyObject(), a)
				}
			})
		}
	}
}

func TestDefaultsAreStable(t *testing.T) {
	for _, r := range builtin.Table() {
		for i := range r.Versions {
			v := &r.Versions[i]
			if v.Default == nil {
				continue
			}
			for seed := range int64(10) {
				obj := v.New()
				filler(seed).Fill(obj)
				v.Default(obj)
				once := obj.DeepCopyObject()
				v.Default(obj)
				if !apiequality.Semantic.DeepEqual(obj, once) {
					t.Errorf("%s %s: defaulting twice is not defaulting once", r.Kind, v.Name)
					break
				}
			}
		}
	}
}

func TestStoredFormsGoRound(t *testing.T) {
	for _, r := range builtin.Table() {
		if r.Virtual {
			continue
		}
		v := r.StorageVersion()
		for seed := range int64(10) {
			obj := v.New()
			filler(rand.New(rand.NewSource(seed)).Int63()).Fill(obj)
			if v.Default != nil {
				v.Default(obj)
			}
			raw, err := scheme.EncodeStorage(obj, r.StorageGVK())
			if err != nil {
				t.Fatalf("%s: %v", r.Kind, err)
			}
			back := v.New()
			if err := scheme.DecodeStorage(raw, back); err != nil {
				t.Fatalf("%s: %v", r.Kind, err)
			}
			if v.Default != nil {
				v.Default(back) // brings back the kinds of nested objects
			}
			back.GetObjectKind().SetGroupVersionKind(r.StorageGVK())
			codec, _ := scheme.ForMediaType(scheme.JSON, false)
			var first, second bytes.Buffer
			if err := codec.Encode(obj, &first); err != nil {
				t.Fatalf("%s: %v", r.Kind, err)
			}
			if err := codec.Encode(back, &second); err != nil {
				t.Fatalf("%s: %v", r.Kind, err)
			}
			if a, b := first.String(), second.String(); a != b && !apiequality.Semantic.DeepEqual(obj, back) {
				at := 0
				for at < min(len(a), len(b)) && a[at] == b[at] {
					at++
				}
				t.Errorf("%s: protobuf and back differs at …%.200s… and …%.200s…", r.Kind, a[max(0, at-50):], b[max(0, at-50):])
			}
			again := v.New()
			if _, _, err := codec.Decode(first.Bytes(), nil, again); err != nil {
				t.Errorf("%s: read JSON: %v", r.Kind, err)
			}
		}
	}
}

// TestManifests takes the documents below testdata/good through a create: none may be refused.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("manifests: %v %v", files, err)
	}
	x := builtin.Index()
	codec, _ := scheme.ForMediaType(scheme.YAML, true)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, doc := range strings.Split("\n"+string(raw), "\n---") {
			if strings.TrimSpace(doc) == "" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), i), func(t *testing.T) {
				obj, gvk, err := codec.Decode([]byte(doc), nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				served, ok := x.Kind(*gvk)
				if !ok {
					t.Fatalf("%s is not served", gvk)
				}
				m, err := meta.Accessor(obj)
				if err != nil {
					t.Fatal(err)
				}
				if served.Namespaced && m.GetNamespace() == "" {
					m.SetNamespace("default")
				}
				m.SetUID("u")
				if served.Version.Default != nil {
					served.Version.Default(obj)
				}
				if served.Version.ToStorage != nil {
					if obj, err = served.Version.ToStorage(obj); err != nil {
						t.Fatal(err)
					}
				}
				if f := served.Strategy.PrepareCreate; f != nil {
					f(obj)
				}
				if errs := served.Strategy.Validate(obj); len(errs) > 0 {
					t.Errorf("refused: %v", errs.ToAggregate())
				}
				again := obj.DeepCopyObject()
				if a, err := meta.Accessor(again); err == nil {
					a.SetResourceVersion("1")
					m, _ := meta.Accessor(obj)
					m.SetResourceVersion("1")
				}
				if errs := served.Strategy.ValidateUpdate(again, obj); len(errs) > 0 {
					t.Errorf("an update that changes nothing is refused: %v", errs.ToAggregate())
				}
			})
		}
	}
}

func FuzzCreate(f *testing.F) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	for _, file := range files {
		if raw, err := os.ReadFile(file); err == nil {
			for _, doc := range strings.Split("\n"+string(raw), "\n---") {
				if j, err := yaml.ToJSON([]byte(doc)); err == nil {
					f.Add(j)
				}
			}
		}
	}
	x := builtin.Index()
	codec, _ := scheme.ForMediaType(scheme.JSON, false)
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, gvk, err := codec.Decode(data, nil, nil)
		if err != nil {
			return
		}
		served, ok := x.Kind(*gvk)
		if !ok || served.Virtual {
			return
		}
		every(t, served.Resource, served.Version, obj, obj.DeepCopyObject())
	})
}
