package compiled

import (
	"errors"
	"slices"
	"testing"

	"k8s.io/client-go/tools/cache"
)

// told is an informer whose news the test tells.
type told struct {
	cache.SharedIndexInformer
	handler cache.ResourceEventHandler
}

func (i *told) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	i.handler = h
	return nil, nil
}

func TestReadsAnewOnlyAfterAChange(t *testing.T) {
	var objects []string
	var broken error
	reads, i := 0, &told{}
	list, err := Follow(func() ([]string, error) {
		reads++
		return slices.Clone(objects), broken
	}, i)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		when  string
		news  func()
		want  []string
		fails bool
		reads int
	}{
		{when: "before any news", reads: 1},
		{when: "after an addition", news: func() { objects = []string{"a"}; i.handler.OnAdd("a", true) }, want: []string{"a"}, reads: 2},
		{when: "without news", want: []string{"a"}, reads: 2},
		{when: "after a change", news: func() { objects = []string{"b"}; i.handler.OnUpdate("a", "b") }, want: []string{"b"}, reads: 3},
		{when: "when it cannot be read", news: func() { objects, broken = nil, errors.New("broken"); i.handler.OnDelete("b") }, fails: true, reads: 4},
		{when: "when it still cannot", fails: true, reads: 5},
		{when: "when it can again", news: func() { broken = nil }, reads: 6},
	} {
		if step.news != nil {
			step.news()
		}
		got, err := list.Current()
		if !slices.Equal(got, step.want) || (err != nil) != step.fails || reads != step.reads {
			t.Fatalf("%s: %v, %v after %d reads; want %v, an error: %t, after %d", step.when, got, err, reads, step.want, step.fails, step.reads)
		}
	}
}
