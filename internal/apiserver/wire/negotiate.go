package wire

import (
	"sort"
	"strconv"
	"strings"
)

// Media is a serialization of the API.
type Media int

// The media types that are served. JSON is the default.
const (
	JSON Media = iota
	YAML
	Protobuf
)

// The names of the media types.
const (
	TypeJSON     = "application/json"
	TypeYAML     = "application/yaml"
	TypeProtobuf = "application/vnd.kubernetes.protobuf"
)

func (m Media) String() string {
	switch m {
	case YAML:
		return TypeYAML
	case Protobuf:
		return TypeProtobuf
	}
	return TypeJSON
}

// StreamType is the Content-Type of a watch.
func (m Media) StreamType() string {
	if m == Protobuf {
		return TypeProtobuf + ";stream=watch"
	}
	return TypeJSON
}

// Accept is the outcome of content negotiation.
type Accept struct {
	Media Media
	// As, Group and Version name a transformation: Table or PartialObjectMetadata(List) of meta.k8s.io,
	// APIGroupDiscoveryList of apidiscovery.k8s.io. As is empty for none.
	As, Group, Version string
}

type clause struct {
	media  string
	params map[string]string
	q      float64
}

// Negotiate picks the first clause of an Accept header that the server can answer. allow tells whether a transformation is
// known; a clause with an unknown one is passed over. An empty header accepts JSON.
func Negotiate(header string, allow func(as, group, version string) bool) (Accept, bool) {
	switch header {
	case "", "*/*", TypeJSON, TypeJSON + ", */*":
		return Accept{}, true
	case TypeProtobuf, TypeProtobuf + "," + TypeJSON, TypeProtobuf + ", " + TypeJSON:
		return Accept{Media: Protobuf}, true
	}
	for _, c := range parseAccept(header) {
		a, ok := Accept{}, true
		switch c.media {
		case TypeJSON, "*/*", "application/*":
			a.Media = JSON
		case TypeYAML:
			a.Media = YAML
		case TypeProtobuf:
			a.Media = Protobuf
		default:
			ok = false
		}
		if !ok {
			continue
		}
		if as := c.params["as"]; as != "" {
			a.As, a.Group, a.Version = as, c.params["g"], c.params["v"]
			if allow == nil || !allow(a.As, a.Group, a.Version) {
				continue
			}
		}
		return a, true
	}
	return Accept{}, false
}

func parseAccept(header string) []clause {
	var out []clause
	for _, part := range strings.Split(header, ",") {
		fields := strings.Split(part, ";")
		c := clause{media: strings.ToLower(strings.TrimSpace(fields[0])), q: 1}
		if c.media == "" {
			continue
		}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
			if k == "q" {
				if q, err := strconv.ParseFloat(v, 64); err == nil {
					c.q = q
				}
				continue
			}
			if c.params == nil {
				c.params = map[string]string{}
			}
			c.params[k] = v
		}
		out = append(out, c)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].q > out[j].q })
	return out
}

// ContentMedia recognises the Content-Type of a request's body; empty means JSON.
func ContentMedia(contentType string) (Media, bool) {
	t, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(t)) {
	case "", TypeJSON:
		return JSON, true
	case TypeYAML:
		return YAML, true
	case TypeProtobuf:
		return Protobuf, true
	}
	return JSON, false
}
