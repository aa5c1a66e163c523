package remote

import (
	"net/url"
	"testing"
)

func TestNextPage(t *testing.T) {
	from, err := url.Parse("https://reg.example:5000/v2/app/tags/list")
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{
		`</v2/app/tags/list?last=b&n=2>; rel="next"`:               "https://reg.example:5000/v2/app/tags/list?last=b&n=2",
		`<https://reg.example:5000/v2/app/tags/list?x=1>;rel=next`: "https://reg.example:5000/v2/app/tags/list?x=1",
		`<https://evil.example/v2/app/tags/list>; rel="next"`:      "",
		`<http://reg.example:5000/v2/app/tags/list>; rel="next"`:   "",
		`</v2/app/tags/list>; rel="prev"`:                          "",
		"":                                                         "",
		"nonsense>; rel=next":                                      "",
	} {
		next, ok := nextPage(from, link)
		if ok != (want != "") || ok && next.String() != want {
			t.Errorf("%s: %v, %v", link, next, ok)
		}
	}
}
