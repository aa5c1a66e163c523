package apiserver

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
)

// requestInfo is what method, path and query say, before anything is looked up.
type requestInfo struct {
	IsResource  bool
	Verb        string // get, list, watch, create, update, patch, delete, deletecollection; or the lower-case method
	Path        string
	Group       string
	Version     string
	Namespace   string
	Resource    string
	Subresource string
	Name        string
	// Rest is the path below the subresource (proxy), without a slash at its start.
	Rest string
}

var methodVerbs = map[string]string{
	http.MethodPost:   "create",
	http.MethodGet:    "get",
	http.MethodHead:   "get",
	http.MethodPut:    "update",
	http.MethodPatch:  "patch",
	http.MethodDelete: "delete",
}

// locate reads a request as the API's URL conventions say:
//
//	/api/v1/…  /apis/GROUP/VERSION/…  then  [namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE[/REST]]]
//
// /watch/ after the version is the old form of ?watch=true.
func locate(r *http.Request, query func() url.Values) requestInfo {
	info := requestInfo{Path: r.URL.Path, Verb: strings.ToLower(r.Method)}
	rest, ok := strings.CutPrefix(info.Path, "/api/")
	if !ok {
		if rest, ok = strings.CutPrefix(info.Path, "/apis/"); !ok {
			return info
		}
		info.Group, rest, ok = strings.Cut(rest, "/")
		if !ok {
			return info
		}
	}
	info.Version, rest, ok = strings.Cut(rest, "/")
	if !ok || rest == "" || info.Version == "" {
		return info
	}
	info.IsResource = true
	info.Verb = methodVerbs[r.Method]

	first, tail, _ := strings.Cut(rest, "/")
	watching := first == "watch" && tail != "" && info.Verb == "get"
	if watching {
		rest = tail
		first, tail, _ = strings.Cut(rest, "/")
	}
	if first == "namespaces" && tail != "" {
		ns, below, more := strings.Cut(tail, "/")
		info.Namespace = ns
		sub, _, _ := strings.Cut(below, "/")
		if more && below != "" && sub != "status" && sub != "finalize" {
			rest = below
		}
	}
	info.Resource, rest, _ = strings.Cut(rest, "/")
	info.Name, rest, _ = strings.Cut(rest, "/")
	info.Subresource, info.Rest, _ = strings.Cut(rest, "/")

	switch {
	case watching:
		info.Verb = "watch"
	case info.Name == "" && info.Verb == "get":
		info.Verb = "list"
		if r.URL.RawQuery == "" {
			break
		}
		q := query()
		if w := q.Get("watch"); w == "true" || w == "1" {
			info.Verb = "watch"
		}
		if f := q.Get("fieldSelector"); f != "" {
			if sel, err := fields.ParseSelector(f); err == nil {
				if name, ok := sel.RequiresExactMatch("metadata.name"); ok {
					info.Name = name
				}
			}
		}
	case info.Name == "" && info.Verb == "delete":
		info.Verb = "deletecollection"
	}
	return info
}
