package apiserver

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"

	"nau/internal/store"
)

// The rules of resourceVersion, resourceVersionMatch, limit, continue and sendInitialEvents, as the API reference tells them
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions), seen by a client.

// impatient is a stepped clock on which nobody waits for a revision to come: such timers are over at once.
type impatient struct {
	*testclock.FakeClock
	ticking chan struct{} // one for each ticker that was made
}

func newImpatient() *impatient {
	return &impatient{testclock.NewFakeClock(time.Now()), make(chan struct{}, 64)}
}

func (c *impatient) NewTimer(time.Duration) clock.Timer { return clock.RealClock{}.NewTimer(0) }

func (c *impatient) NewTicker(d time.Duration) clock.Ticker {
	defer func() {
		select {
		case c.ticking <- struct{}{}:
		default:
		}
	}()
	return c.FakeClock.NewTicker(d)
}

const cmsPath = "/api/v1/namespaces/ns/configmaps"

// past is a cluster with three config maps a, b, c, at the revisions of rv.
func past(t *testing.T) (c *cluster, clk *impatient, rv map[string]int64) {
	clk = newImpatient()
	c = newClusterOver(t, store.Config{Clock: clk, Retain: -1})
	<-clk.ticking // the house is kept
	c.namespace("ns")
	rv = map[string]int64{}
	for _, name := range []string{"a", "b", "c"} {
		rv[name] = c.configMap("POST", name, "1")
	}
	return c, clk, rv
}

// configMap writes one and tells its revision.
func (c *cluster) configMap(method, name, value string) int64 {
	c.t.Helper()
	path, code := cmsPath, 201
	if method == "PUT" {
		path, code = cmsPath+"/"+name, 200
	}
	var cm corev1.ConfigMap
	c.do(method, path, map[string]any{"metadata": map[string]any{"name": name}, "data": map[string]string{"v": value}}).want(code, &cm)
	return revisionOf(c.t, cm.ResourceVersion)
}

func revisionOf(t testing.TB, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// forget makes all that is older than the newest revision unknown: to the watch cache and to etcd.
func (c *cluster) forget(clk *impatient) {
	c.t.Helper()
	for i := range 600 {
		if i == 300 {
			clk.Step(80 * time.Second) // what is older is not kept for watches
		}
		c.configMap("PUT", "c", strconv.Itoa(i))
		if i%60 == 0 { // pages that push the older snapshots out
			c.do("GET", cmsPath+"?limit=1", nil).want(200)
		}
	}
	if err := c.store.Compact(c.t.Context(), c.store.Revision()); err != nil {
		c.t.Fatal(err)
	}
}

func TestRevisionsOfGet(t *testing.T) {
	c, _, rv := past(t)
	newer := c.configMap("PUT", "a", "2")
	for _, tt := range []struct {
		query string
		code  int
		part  string
	}{
		{"", 200, ""},
		{"?resourceVersion=", 200, ""},
		{"?resourceVersion=0", 200, ""},
		{fmt.Sprint("?resourceVersion=", rv["a"]), 200, ""}, // not older than
		{fmt.Sprint("?resourceVersion=", newer), 200, ""},
		{"?resourceVersion=999999", 504, "Too large resource version: 999999, current: "},
		{"?resourceVersion=x", 400, `invalid resource version: resourceVersion: Invalid value: "x"`},
		{"?resourceVersion=-1", 400, "invalid resource version"},
		{"?resourceVersion=1.5", 400, "invalid resource version"},
		{"?resourceVersion=99999999999999999999", 400, "invalid resource version"},
	} {
		r := c.do("GET", cmsPath+"/a"+tt.query, nil)
		if tt.code == 200 {
			var cm corev1.ConfigMap
			if r.want(200, &cm); cm.Data["v"] != "2" {
				t.Errorf("%s: a state of the past", tt.query)
			}
			continue
		}
		if !strings.Contains(string(r.body), strings.ReplaceAll(tt.part, `"`, `\"`)) || r.code != tt.code {
			t.Errorf("%s: %d %s, want %d %q", tt.query, r.code, r.body, tt.code, tt.part)
		}
	}
}

func TestRevisionsOfList(t *testing.T) {
	c, _, rv := past(t)
	c.configMap("POST", "d", "1")
	var first corev1.ConfigMapList
	c.do("GET", cmsPath+"?limit=1", nil).want(200, &first)
	if first.RemainingItemCount == nil || *first.RemainingItemCount != 3 {
		t.Errorf("remainingItemCount of the first of four: %v", first.RemainingItemCount)
	}
	const forbidden = `ListOptions.meta.k8s.io "" is invalid: `
	const unless = forbidden + "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
	const paging = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"
	const unsupported = `resourceVersionMatch: Unsupported value: "Newest": supported values: "Exact", "NotOlderThan", ""`
	past, future, next := strconv.FormatInt(rv["c"], 10), "999999", url.QueryEscape(first.Continue)
	for _, tt := range []struct {
		rv, match, limit, cont string
		code                   int
		want                   string // the names, with a + if there are more; or a part of the message
	}{
		{"", "", "", "", 200, "a b c d"},
		{"", "", "2", "", 200, "a b+"},
		{"", "", "", next, 200, "b c d"},
		{"", "", "2", next, 200, "b c+"},
		{"", "Exact", "", "", 422, unless},
		{"", "NotOlderThan", "", "", 422, unless},
		{"", "NotOlderThan", "2", "", 422, unless},
		{"", "Exact", "2", next, 422, paging},

		{"0", "", "", "", 200, "a b c d"},
		{"0", "", "", next, 200, "b c d"}, // 0 beside a token is let pass
		{"0", "NotOlderThan", "", "", 200, "a b c d"},
		{"0", "Exact", "", "", 422, forbidden + `resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"`},
		{"0", "Exact", "2", "", 422, `"exact" is forbidden for resourceVersion "0"`},
		{"0", "NotOlderThan", "2", next, 422, paging},

		{past, "", "", "", 200, "a b c d"}, // not older than
		{past, "", "2", "", 200, "a b+"},   // the rule of old: with a limit, exactly that one
		{past, "", "3", "", 200, "a b c"},
		{past, "NotOlderThan", "", "", 200, "a b c d"},
		{past, "NotOlderThan", "3", "", 200, "a b c+"},
		{past, "Exact", "", "", 200, "a b c"},
		{past, "Exact", "2", "", 200, "a b+"},
		{past, "", "", next, 400, "specifying resource version is not allowed when using continue"},
		{past, "Exact", "", next, 422, paging},

		{future, "", "", "", 504, "Too large resource version: 999999, current: "},
		{future, "NotOlderThan", "", "", 504, "Too large resource version: 999999, current: "},
		{future, "Exact", "", "", 504, "Too large resource version: 999999, current: "},
		{future, "", "2", "", 504, "Too large resource version: 999999, current: "},

		{past, "Newest", "", "", 422, unsupported},
		{"", "Newest", "", next, 422, unsupported},
		{"x", "", "", "", 400, "invalid resource version"},
		{"x", "Exact", "", "", 400, "invalid resource version"},
		{"-1", "", "", "", 400, "invalid resource version"},
		{"", "", "x", "", 400, ""},
		{"", "", "2", "x", 400, "continue key is not valid"},
		{"", "", "2", token(`{"v":"meta.k8s.io/v2","rv":1,"start":"a"}`), 400, "continue key is not valid"},
		{"", "", "2", token(`{"v":"meta.k8s.io/v1","rv":0,"start":"a"}`), 400, "continue key is not valid"},
		{"", "", "2", token(`{"v":"meta.k8s.io/v1","rv":1,"start":""}`), 400, "continue key is not valid"},
		{"", "", "2", token(`{"v":"meta.k8s.io/v1","rv":1,"start":"../../secrets"}`), 400, "continue key is not valid"},
	} {
		q := "?"
		for _, part := range [][2]string{{"resourceVersion", tt.rv}, {"resourceVersionMatch", tt.match}, {"limit", tt.limit}, {"continue", tt.cont}} {
			if part[1] != "" {
				q += part[0] + "=" + part[1] + "&"
			}
		}
		r := c.do("GET", cmsPath+q, nil)
		if r.code != tt.code {
			t.Errorf("%s: %d %s, want %d", q, r.code, r.body, tt.code)
			continue
		}
		if tt.code == 200 {
			var list corev1.ConfigMapList
			if r.want(200, &list); shown(&list) != tt.want {
				t.Errorf("%s: %s, want %s", q, shown(&list), tt.want)
			}
			if tt.match == "Exact" && list.ResourceVersion != tt.rv {
				t.Errorf("%s: at %s", q, list.ResourceVersion)
			}
			continue
		}
		var st metav1.Status
		r.want(tt.code, &st)
		if !strings.Contains(st.Message, tt.want) {
			t.Errorf("%s: %q, want %q", q, st.Message, tt.want)
		}
		checkStatus(t, q, &st)
	}
	if r := c.do("GET", cmsPath+"?sendInitialEvents=true", nil).fails(422, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for list"); r.Details == nil {
		t.Error("no details")
	}
	// The options of a deletecollection are those of a list.
	c.do("DELETE", cmsPath+"?resourceVersionMatch=Exact", nil).fails(422, metav1.StatusReasonInvalid, "resourceVersionMatch is forbidden unless")
	c.do("DELETE", cmsPath+"?resourceVersion=999999", nil).fails(504, metav1.StatusReasonTimeout, "Too large resource version")
	c.do("DELETE", cmsPath+"?resourceVersion=x", nil).fails(400, metav1.StatusReasonBadRequest, "invalid resource version")
	c.do("DELETE", cmsPath+"?resourceVersionMatch=Exact&resourceVersion="+past, nil).want(200)
	var left corev1.ConfigMapList
	if c.do("GET", cmsPath, nil).want(200, &left); shown(&left) != "d" {
		t.Errorf("left by a deletecollection of what was there before d: %s", shown(&left))
	}
}

// checkStatus checks what clients read of a failure beside its message.
func checkStatus(t *testing.T, what string, st *metav1.Status) {
	t.Helper()
	switch st.Code {
	case 422:
		if st.Reason != metav1.StatusReasonInvalid || st.Details == nil || st.Details.Group != "meta.k8s.io" || st.Details.Kind != "ListOptions" || len(st.Details.Causes) == 0 {
			t.Errorf("%s: %+v", what, st)
			return
		}
		for _, cause := range st.Details.Causes {
			if cause.Type != metav1.CauseTypeForbidden && cause.Type != metav1.CauseTypeFieldValueNotSupported || cause.Field == "" {
				t.Errorf("%s: cause %+v", what, cause)
			}
		}
	case 504:
		if st.Reason != metav1.StatusReasonTimeout || st.Details == nil || st.Details.RetryAfterSeconds != 1 || len(st.Details.Causes) != 1 ||
			st.Details.Causes[0].Type != metav1.CauseTypeResourceVersionTooLarge || st.Details.Causes[0].Message != "Too large resource version" {
			t.Errorf("%s: %+v", what, st)
		}
	case 410:
		if st.Reason != metav1.StatusReasonExpired {
			t.Errorf("%s: %+v", what, st)
		}
	case 400:
		if st.Reason != metav1.StatusReasonBadRequest {
			t.Errorf("%s: %+v", what, st)
		}
	}
}

func shown(list *corev1.ConfigMapList) string {
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	s := strings.Join(out, " ")
	if list.Continue != "" {
		s += "+"
	}
	return s
}

func token(doc string) string { return base64.RawURLEncoding.EncodeToString([]byte(doc)) }

// A list that is paged while its revision goes out of history: the client is told, and given a token that goes on.
func TestPagingPastCompaction(t *testing.T) {
	c, clk, rv := past(t)
	var first corev1.ConfigMapList
	c.do("GET", cmsPath+"?limit=1", nil).want(200, &first)
	c.configMap("POST", "bb", "1") // since then
	c.forget(clk)

	st := c.do("GET", cmsPath+"?limit=1&continue="+url.QueryEscape(first.Continue), nil).fails(410, metav1.StatusReasonExpired, "The provided continue parameter is too old")
	if st.Continue == "" || st.Continue == first.Continue {
		t.Fatalf("no other token: %+v", st.ListMeta)
	}
	var rest corev1.ConfigMapList
	c.do("GET", cmsPath+"?limit=2&continue="+url.QueryEscape(st.Continue), nil).want(200, &rest)
	if shown(&rest) != "b bb+" || revisionOf(t, rest.ResourceVersion) != c.store.Revision() {
		t.Errorf("the rest: %s at %s", shown(&rest), rest.ResourceVersion)
	}
	c.do("GET", cmsPath+"?limit=2&continue="+url.QueryEscape(rest.Continue), nil).want(200, &rest)
	if shown(&rest) != "c" {
		t.Errorf("the end: %s", shown(&rest))
	}
	for _, q := range []string{"&limit=2", "&resourceVersionMatch=Exact"} {
		c.do("GET", cmsPath+"?resourceVersion="+strconv.FormatInt(rv["c"], 10)+q, nil).fails(410, metav1.StatusReasonExpired, "The resourceVersion for the provided list is too old.")
	}
	c.do("GET", cmsPath+"?resourceVersion="+strconv.FormatInt(rv["c"], 10), nil).want(200) // not older than: what is, is
}

// stream is a watch as a client reads it.
type stream struct {
	t    testing.TB
	body *json.Decoder
	resp *http.Response
}

func (c *cluster) stream(query string) *stream {
	c.t.Helper()
	if c.host == nil {
		c.host = c.serve()
	}
	client, err := rest.HTTPClientFor(c.host)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := client.Get(c.host.Host + cmsPath + "?watch=true&" + query)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = resp.Body.Close() })
	return &stream{c.t, json.NewDecoder(resp.Body), resp}
}

type told struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

func (s *stream) next() (kind string, cm corev1.ConfigMap, st metav1.Status) {
	s.t.Helper()
	var ev told
	if err := s.body.Decode(&ev); err != nil {
		s.t.Fatalf("read the watch: %v", err)
	}
	into := any(&cm)
	if ev.Type == "ERROR" {
		into = &st
	}
	if err := json.Unmarshal(ev.Object, into); err != nil {
		s.t.Fatalf("%v: %s", err, ev.Object)
	}
	return ev.Type, cm, st
}

// expect reads as many events as are wanted: "TYPE name".
func (s *stream) expect(want ...string) (last corev1.ConfigMap) {
	s.t.Helper()
	if s.resp.StatusCode != 200 {
		s.t.Fatalf("the watch was answered with %s", s.resp.Status)
	}
	for i, w := range want {
		kind, cm, st := s.next()
		got := strings.TrimSpace(kind + " " + cm.Name)
		if end := cm.Annotations[metav1.InitialEventsAnnotationKey]; end != "" {
			got += " end=" + end
		}
		if got != w {
			s.t.Fatalf("event %d is %q %s, want %q", i, got, st.Message, w)
		}
		last = cm
	}
	return last
}

func TestRevisionsOfWatch(t *testing.T) {
	c, _, rv := past(t)
	at := "resourceVersion=" + strconv.FormatInt(rv["a"], 10)
	const initial = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
	const marked = initial + "&allowWatchBookmarks=true"
	streams := map[string]*stream{}
	for q, want := range map[string][]string{
		"":                                {"ADDED a", "ADDED b", "ADDED c"},
		"allowWatchBookmarks=true":        {"ADDED a", "ADDED b", "ADDED c"}, // and no bookmark after them
		"resourceVersion=0":               {"ADDED a", "ADDED b", "ADDED c"},
		at:                                {"ADDED b", "ADDED c"},
		at + "&limit=1":                   {"ADDED b", "ADDED c"}, // a limit is none of a watch's
		marked:                            {"ADDED a", "ADDED b", "ADDED c", "BOOKMARK end=true"},
		"resourceVersion=0" + marked:      {"ADDED a", "ADDED b", "ADDED c", "BOOKMARK end=true"},
		at + marked:                       {"ADDED a", "ADDED b", "ADDED c", "BOOKMARK end=true"},
		at + initial:                      {"ADDED a", "ADDED b", "ADDED c"}, // who allows no bookmarks gets none
		at + marked + "&labelSelector=no": {"BOOKMARK end=true"},
		at + marked + "&fieldSelector=metadata.name=b":                                {"ADDED b", "BOOKMARK end=true"},
		at + "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan":             {"ADDED b", "ADDED c"},
		"sendInitialEvents=false&resourceVersionMatch=NotOlderThan":                   {},
		"resourceVersion=0&sendInitialEvents=false&resourceVersionMatch=NotOlderThan": {},
	} {
		s := c.stream(q)
		last := s.expect(want...)
		if len(want) > 0 && strings.HasPrefix(want[len(want)-1], "BOOKMARK") && revisionOf(t, last.ResourceVersion) < rv["c"] {
			t.Errorf("%s: the bookmark is at %s, before what it follows", q, last.ResourceVersion)
		}
		streams[q] = s
	}
	// What comes next is what happens next.
	c.do("PATCH", cmsPath+"/b", `{"metadata":{"labels":{"no":"yes"}}}`, "Content-Type", "application/merge-patch+json").want(200)
	for q, s := range streams {
		want := "MODIFIED b"
		if strings.Contains(q, "labelSelector") {
			want = "ADDED b" // to who selects
		}
		s.expect(want)
	}
	for q, want := range map[string]struct {
		code int
		part string
	}{
		"resourceVersion=x":                                 {400, "invalid resource version"},
		"resourceVersionMatch=NotOlderThan":                 {422, "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"},
		at + "&resourceVersionMatch=Exact":                  {422, `resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"`},
		"sendInitialEvents=true":                            {422, "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"},
		"sendInitialEvents=false":                           {422, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"},
		"sendInitialEvents=true&resourceVersionMatch=Exact": {422, `supported values: "NotOlderThan"`},
		marked + "&continue=abc":                            {422, "resourceVersionMatch is forbidden when continue is provided"},
		"timeoutSeconds=soon":                               {400, ""},
	} {
		var st metav1.Status
		r := c.do("GET", cmsPath+"?watch=true&"+q, nil)
		if r.want(want.code, &st); !strings.Contains(st.Message, want.part) {
			t.Errorf("%s: %q, want %q", q, st.Message, want.part)
		}
		checkStatus(t, q, &st)
	}
	// A revision that is not there yet is refused like a list's, in the stream.
	for _, q := range []string{"resourceVersion=999999", "resourceVersion=999999" + marked} {
		kind, _, st := c.stream(q).next()
		if kind != "ERROR" || st.Code != 504 {
			t.Errorf("%s: %s %+v", q, kind, st)
		}
		checkStatus(t, q, &st)
	}
}

// A watch from a revision that is forgotten says so; a list and a watch from there lose nothing.
func TestWatchPastCompaction(t *testing.T) {
	c, clk, rv := past(t)
	c.forget(clk)
	for _, accept := range []string{"", "application/json;as=Table;v=v1;g=meta.k8s.io"} {
		r := c.do("GET", cmsPath+"?watch=true&resourceVersion="+strconv.FormatInt(rv["a"], 10), nil, "Accept", accept)
		var ev struct {
			Type   string
			Object metav1.Status
		}
		r.want(200, &ev)
		if ev.Type != "ERROR" || ev.Object.Code != 410 || ev.Object.Reason != metav1.StatusReasonExpired || ev.Object.Kind != "Status" ||
			!strings.HasPrefix(ev.Object.Message, fmt.Sprintf("too old resource version: %d (", rv["a"])) {
			t.Errorf("%s", r.body)
		}
	}
	var list corev1.ConfigMapList
	c.do("GET", cmsPath+"?resourceVersion="+strconv.FormatInt(rv["a"], 10), nil).want(200, &list)
	c.configMap("POST", "between", "1")
	s := c.stream("resourceVersion=" + list.ResourceVersion)
	c.configMap("POST", "since", "1")
	s.expect("ADDED between", "ADDED since")
}

// A quiet watch is told each minute how far the world is, so that it can come back there.
func TestBookmarks(t *testing.T) {
	c, clk, rv := past(t)
	at := "resourceVersion=" + strconv.FormatInt(rv["c"], 10)
	told, untold := c.stream(at+"&allowWatchBookmarks=true"), c.stream(at)
	c.namespace("elsewhere")
	now := c.store.Revision()
	clk.Step(time.Minute)
	mark := told.expect("BOOKMARK")
	if revisionOf(t, mark.ResourceVersion) < now {
		t.Errorf("the bookmark is at %s, the world at %d", mark.ResourceVersion, now)
	}
	c.configMap("POST", "d", "1")
	told.expect("ADDED d")
	untold.expect("ADDED d") // and nothing before it
	c.stream("resourceVersion=" + mark.ResourceVersion).expect("ADDED d")
}
