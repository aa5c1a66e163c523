package docker

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/registry"
)

func TestSearchFilter(t *testing.T) {
	found := []registry.SearchResult{{Name: "official", StarCount: 12, IsOfficial: true}, {Name: "loved", StarCount: 3000}, {Name: "new"}}
	for _, c := range []struct {
		filter    filters
		want, err string
	}{
		{nil, "official loved new", ""},
		{filters{"is-official": {"true"}}, "official", ""},
		{filters{"is-official": {"false"}}, "loved new", ""},
		{filters{"stars": {"12"}}, "official loved", ""},
		{filters{"stars": {"12", "13"}}, "loved", ""},
		{filters{"is-automated": {"true"}}, "", ""},
		{filters{"is-automated": {"false"}}, "official loved new", ""},
		{filters{"stars": {"many"}}, "", `invalid filter 'stars=many': strconv.Atoi: parsing "many": invalid syntax`},
		{filters{"is-official": {"perhaps"}}, "", "invalid filter 'is-official=[perhaps]'"},
	} {
		pass, err := searchFilter(c.filter)
		if err != nil || c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%v: %v, want %s", c.filter, err, c.err)
			}
			continue
		}
		var got []string
		for _, r := range found {
			if pass(r) {
				got = append(got, r.Name)
			}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%v: %s, want %s", c.filter, text, c.want)
		}
	}
}
