package apiserver

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apidiscoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api"
	"nau/internal/apiserver/wire"
)

// documents are the self-descriptions of one view of the registry, each made when it is first asked for.
type documents struct {
	mu   sync.Mutex
	made map[string]*document
}

type document struct {
	bytes       []byte
	contentType string
	etag        string
}

// get returns the named document, making it if it is not there yet.
func (d *documents) get(name string, make func() ([]byte, string, error)) (*document, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc := d.made[name]; doc != nil {
		return doc, nil
	}
	b, ct, err := make()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	doc := &document{bytes: b, contentType: ct, etag: `"` + strings.ToUpper(hex.EncodeToString(sum[:])) + `"`}
	if d.made == nil {
		d.made = map[string]*document{}
	}
	d.made[name] = doc
	return doc, nil
}

// respondDocument answers with a document, or with 304 when the client has it.
func (c *call) respondDocument(doc *document) error {
	h := c.w.Header()
	h.Set("Etag", doc.etag)
	h.Set("Vary", "Accept")
	if match := c.r.Header.Get("If-None-Match"); match != "" && match == doc.etag {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return c.respondBytes(http.StatusOK, doc.contentType, doc.bytes)
}

// discoveryForm tells the aggregated forms that are served.
func discoveryForm(as, group, version string) bool {
	return as == "APIGroupDiscoveryList" && group == "apidiscovery.k8s.io" && (version == "v2" || version == "v2beta1")
}

// discovery answers /api, /apis and what is below them without naming a resource.
func (s *Server) discovery(c *call) error {
	v := s.registry.now()
	path := strings.Trim(c.info.Path, "/")
	parts := strings.Split(path, "/")
	a, ok := wire.Negotiate(c.r.Header.Get("Accept"), discoveryForm)
	if !ok {
		return notAcceptable()
	}
	if len(parts) > 1 && a.As != "" {
		a.As = ""
	}
	c.accept = wire.Accept{Media: a.Media}
	name := path + "|" + a.As + a.Version + "|" + a.Media.String()
	build := func() (runtime.Object, schema.GroupVersionKind, bool) {
		switch {
		case len(parts) == 1 && a.As != "":
			return v.aggregated(parts[0] == "api"), apidiscoveryv2.SchemeGroupVersion.WithKind("APIGroupDiscoveryList"), true
		case path == "api":
			return &metav1.APIVersions{Versions: []string{"v1"}, ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{}},
				schema.GroupVersionKind{Version: "v1", Kind: "APIVersions"}, true
		case path == "apis":
			return v.groupList(), schema.GroupVersionKind{Version: "v1", Kind: "APIGroupList"}, true
		case parts[0] == "apis" && len(parts) == 2:
			g := v.group(parts[1])
			if g == nil {
				return nil, schema.GroupVersionKind{}, false
			}
			return g, schema.GroupVersionKind{Version: "v1", Kind: "APIGroup"}, true
		case parts[0] == "api" && len(parts) == 2:
			return v.resourceList(schema.GroupVersion{Version: parts[1]})
		case len(parts) == 3:
			return v.resourceList(schema.GroupVersion{Group: parts[1], Version: parts[2]})
		}
		return nil, schema.GroupVersionKind{}, false
	}
	obj, gvk, ok := build()
	if !ok {
		notFoundPage(c)
		return nil
	}
	doc, err := v.documents.get(name, func() ([]byte, string, error) {
		if a.As != "" && a.Version == "v2beta1" {
			gvk = apidiscoveryv2beta1.SchemeGroupVersion.WithKind("APIGroupDiscoveryList")
			if a.Media == wire.Protobuf { // the two versions have the same fields
				raw, err := wire.MarshalMessage(obj.(wire.Message))
				if err != nil {
					return nil, "", err
				}
				buf := wire.EnvelopeHead(nil, gvk, len(raw))
				return wire.EnvelopeTail(append(buf, raw...)), discoveryType(a.Media, a.Version), nil
			}
		}
		b, media, err := wire.Encode(obj, gvk, a.Media, false)
		ct := media.String()
		if a.As != "" {
			ct = discoveryType(media, a.Version)
		}
		return b, ct, err
	})
	if err != nil {
		return err
	}
	return c.respondDocument(doc)
}

func discoveryType(m wire.Media, version string) string {
	return m.String() + ";g=apidiscovery.k8s.io;v=" + version + ";as=APIGroupDiscoveryList"
}

func (v *view) groupList() *metav1.APIGroupList {
	list := &metav1.APIGroupList{Groups: []metav1.APIGroup{}}
	for _, g := range v.index.Groups() {
		if g.Name != "" {
			list.Groups = append(list.Groups, apiGroup(g))
		}
	}
	return list
}

func (v *view) group(name string) *metav1.APIGroup {
	for _, g := range v.index.Groups() {
		if g.Name == name && name != "" {
			out := apiGroup(g)
			return &out
		}
	}
	return nil
}

func apiGroup(g api.Group) metav1.APIGroup {
	out := metav1.APIGroup{Name: g.Name}
	for _, v := range g.Versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: v.GroupVersion.String(), Version: v.Version})
	}
	if len(out.Versions) > 0 {
		out.PreferredVersion = out.Versions[0]
	}
	return out
}

func (v *view) resourceList(gv schema.GroupVersion) (runtime.Object, schema.GroupVersionKind, bool) {
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "APIResourceList"}
	for _, g := range v.index.Groups() {
		for _, ver := range g.Versions {
			if ver.GroupVersion != gv {
				continue
			}
			list := &metav1.APIResourceList{GroupVersion: gv.String(), APIResources: []metav1.APIResource{}}
			for _, r := range ver.Resources {
				list.APIResources = append(list.APIResources, metav1.APIResource{
					Name: r.Plural, SingularName: r.Singular, Namespaced: r.Namespaced, Kind: r.Kind,
					Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
				})
				for _, sub := range r.Subresources {
					ar := metav1.APIResource{Name: r.Plural + "/" + sub.Name, Namespaced: r.Namespaced, Kind: sub.Kind, Verbs: sub.Verbs}
					if ar.Kind == "" {
						ar.Kind = r.Kind
					}
					if sub.Version != "" && (sub.Group != gv.Group || sub.Version != gv.Version) {
						ar.Group, ar.Version = sub.Group, sub.Version
					}
					list.APIResources = append(list.APIResources, ar)
				}
			}
			return list, gvk, true
		}
	}
	return nil, gvk, false
}

// aggregated is discovery in one document: of the core group, or of all others (KEP-3352).
func (v *view) aggregated(core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	list := &apidiscoveryv2.APIGroupDiscoveryList{Items: []apidiscoveryv2.APIGroupDiscovery{}}
	for _, g := range v.index.Groups() {
		if (g.Name == "") != core {
			continue
		}
		out := apidiscoveryv2.APIGroupDiscovery{}
		out.Name = g.Name
		for _, ver := range g.Versions {
			vd := apidiscoveryv2.APIVersionDiscovery{Version: ver.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
			for _, r := range ver.Resources {
				scope := apidiscoveryv2.ScopeCluster
				if r.Namespaced {
					scope = apidiscoveryv2.ScopeNamespace
				}
				rd := apidiscoveryv2.APIResourceDiscovery{
					Resource: r.Plural, SingularResource: r.Singular, Scope: scope, Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
					ResponseKind: &metav1.GroupVersionKind{Group: ver.Group, Version: ver.Version, Kind: r.Kind},
				}
				for _, sub := range r.Subresources {
					sd := apidiscoveryv2.APISubresourceDiscovery{Subresource: sub.Name, Verbs: sub.Verbs}
					kind := metav1.GroupVersionKind{Group: sub.Group, Version: sub.Version, Kind: sub.Kind}
					if kind.Version == "" {
						kind.Group, kind.Version = ver.Group, ver.Version
					}
					if kind.Kind == "" {
						kind.Kind = r.Kind
					}
					sd.ResponseKind = &kind
					rd.Subresources = append(rd.Subresources, sd)
				}
				vd.Resources = append(vd.Resources, rd)
			}
			out.Versions = append(out.Versions, vd)
		}
		list.Items = append(list.Items, out)
	}
	return list
}

// paths lists what / shows.
func (s *Server) paths() []string {
	v := s.registry.now()
	set := map[string]bool{"/api": true, "/api/v1": true, "/apis": true, "/apis/": true, "/healthz": true, "/livez": true, "/readyz": true,
		"/metrics": true, "/openapi/v2": true, "/openapi/v3": true, "/version": true}
	for gv := range v.versions {
		if gv.Group != "" {
			set["/apis/"+gv.Group] = true
			set["/apis/"+gv.String()] = true
		}
	}
	for p := range s.Paths {
		set[p] = true
	}
	return sortedKeys(set)
}
