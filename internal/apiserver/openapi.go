package apiserver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/openapi"
)

// openapi answers /openapi/v2 and /openapi/v3. Documents are built when they are first asked for and kept encoded.
func (s *Server) openapi(c *call) error {
	v := s.registry.now()
	switch path := strings.TrimSuffix(c.info.Path, "/"); {
	case path == "/openapi/v2":
		return s.openapiV2(c, v)
	case path == "/openapi/v3":
		return s.openapiIndex(c, v)
	case strings.HasPrefix(path, "/openapi/v3/"):
		return s.openapiV3(c, v, strings.TrimPrefix(path, "/openapi/v3/"))
	}
	notFoundPage(c)
	return nil
}

const (
	protoV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protoV3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

func (s *Server) openapiV2(c *call, v *view) error {
	accept := c.r.Header.Get("Accept")
	proto := strings.Contains(accept, "proto-openapi.spec.v2")
	doc, err := v.documents.get(fmt.Sprintf("openapi/v2/%t", proto), func() ([]byte, string, error) {
		defer debug.FreeOSMemory() // the tree is some 50 MB, used once
		d := openapi.All(v.index, s.Version.GitVersion, v.foreign)
		if proto {
			b, err := openapi.ProtoV2(d)
			return b, protoV2, err
		}
		b, err := openapi.JSON(d)
		return b, "application/json", err
	})
	if err != nil {
		return err
	}
	return c.respondDocument(doc)
}

// place is where a group version's document is, below /openapi/v3/.
func place(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.String()
}

// signature changes whenever the document of a group version may have changed: with the build, and with what is served.
func (s *Server) signature(v *view, gv schema.GroupVersion) string {
	h := sha256.New()
	fmt.Fprintln(h, s.Version.GitVersion, s.Version.GitCommit, s.Version.BuildDate, gv)
	for _, g := range v.index.Groups() {
		for _, ver := range g.Versions {
			if ver.GroupVersion != gv {
				continue
			}
			for _, r := range ver.Resources {
				fmt.Fprintln(h, r.Plural, len(r.Subresources))
				if f, ok := v.foreign[gv.WithKind(r.Kind)]; ok {
					_ = json.NewEncoder(h).Encode(f)
				}
			}
		}
	}
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

func (s *Server) openapiIndex(c *call, v *view) error {
	doc, err := v.documents.get("openapi/v3", func() ([]byte, string, error) {
		paths := map[string]any{}
		for gv := range v.versions {
			paths[place(gv)] = map[string]string{"serverRelativeURL": "/openapi/v3/" + place(gv) + "?hash=" + s.signature(v, gv)}
		}
		b, err := json.Marshal(map[string]any{"paths": paths})
		return b, "application/json", err
	})
	if err != nil {
		return err
	}
	return c.respondDocument(doc)
}

func (s *Server) openapiV3(c *call, v *view, path string) error {
	for gv := range v.versions {
		if place(gv) != path {
			continue
		}
		sign := s.signature(v, gv)
		if asked := c.query.Get("hash"); asked != "" {
			if asked != sign {
				http.Redirect(c.w, c.r, "/openapi/v3/"+path+"?hash="+sign, http.StatusMovedPermanently)
				return nil
			}
			c.w.Header().Set("Expires", s.clock().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
		}
		proto := strings.Contains(c.r.Header.Get("Accept"), "proto-openapi.spec.v3")
		doc, err := v.documents.get(fmt.Sprintf("openapi/v3/%s/%t", path, proto), func() ([]byte, string, error) {
			for _, g := range v.index.Groups() {
				for _, ver := range g.Versions {
					if ver.GroupVersion != gv {
						continue
					}
					d := openapi.Version(gv, ver.Resources, s.Version.GitVersion, v.foreign)
					if proto {
						b, err := openapi.ProtoV3(d)
						return b, protoV3, err
					}
					b, err := openapi.JSON(d)
					return b, "application/json", err
				}
			}
			return nil, "", fmt.Errorf("describe %s: not served", gv)
		})
		if err != nil {
			return err
		}
		return c.respondDocument(doc)
	}
	notFoundPage(c)
	return nil
}
