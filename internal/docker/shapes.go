package docker

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"
)

// shape is what was different in an answer before a version of the API. Source of all: the Engine API's version history.
type shape struct {
	before string // the first version without it
	change func(doc map[string]any)
}

// shaped answers with a document as the request's version has it: the newest, changed by what came before each later version, newest
// first. A list is changed document by document.
func (c *call) shaped(code int, v any, shapes []shape) error {
	shapes = slices.DeleteFunc(slices.Clone(shapes), func(s shape) bool { return c.atLeast(s.before) })
	if len(shapes) == 0 {
		return c.json(code, v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return err
	}
	docs, list := doc.([]any)
	if !list {
		docs = []any{doc}
	}
	for _, d := range docs {
		for _, s := range shapes {
			s.change(d.(map[string]any))
		}
	}
	return c.json(code, doc)
}

// inside finds a document in a document; one that is not there takes changes that nobody sees.
func inside(doc map[string]any, name string) map[string]any {
	if in, ok := doc[name].(map[string]any); ok {
		return in
	}
	return map[string]any{}
}

// setting gives fields their values of old where they are missing; shared values are never changed.
func setting(in string, fields map[string]any) func(map[string]any) {
	return func(doc map[string]any) {
		if in != "" {
			doc = inside(doc, in)
		}
		for k, v := range fields {
			if _, ok := doc[k]; !ok {
				doc[k] = v
			}
		}
	}
}

// without takes fields away.
func without(in string, fields ...string) func(map[string]any) {
	return func(doc map[string]any) {
		if in != "" {
			doc = inside(doc, in)
		}
		for _, k := range fields {
			delete(doc, k)
		}
	}
}

func virtualSize(doc map[string]any) { doc["VirtualSize"] = doc["Size"] }

// runtimeFields are those of a container's configuration that an image's was shown with, always empty.
var runtimeFields = map[string]any{"Hostname": "", "Domainname": "", "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
	"Tty": false, "OpenStdin": false, "StdinOnce": false, "Image": ""}

// imageFields are those of an image's configuration.
var imageFields = map[string]any{"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil, "OnBuild": nil, "User": "", "Volumes": nil, "WorkingDir": ""}

var listedImage = []shape{
	{"1.51", func(doc map[string]any) { doc["Containers"] = -1 }},
	{"1.48", without("", "Descriptor")},
	{"1.44", virtualSize},
	{"1.43", func(doc map[string]any) {
		tags, _ := doc["RepoTags"].([]any)
		digests, _ := doc["RepoDigests"].([]any)
		if len(tags)+len(digests) == 0 {
			doc["RepoTags"], doc["RepoDigests"] = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
	}},
}

// inspectedImage are an image's shapes; parent is the image that it was built on here.
func inspectedImage(parent string) []shape {
	return []shape{
		{"1.52", setting("Config", imageFields)},
		{"1.52", setting("", map[string]any{"Parent": parent, "Comment": "", "DockerVersion": "", "Author": ""})},
		{"1.50", setting("Config", runtimeFields)},
		{"1.45", func(doc map[string]any) {
			doc["Container"] = ""
			doc["ContainerConfig"] = map[string]any{}
			setting("ContainerConfig", runtimeFields)(doc)
			setting("ContainerConfig", imageFields)(doc)
		}},
		{"1.44", virtualSize},
	}
}

var listedContainer = []shape{
	{"1.49", without("", "ImageManifestDescriptor")},
	{"1.46", without("HostConfig", "Annotations")},
}

// inspectedContainer are a container's shapes; mac is the address that was asked for of its first network.
func inspectedContainer(id, mac string) []shape {
	return []shape{
		{"1.52", addressesAtTop},
		{"1.52", func(doc map[string]any) {
			setting("Config", map[string]any{"OnBuild": nil})(doc)
			if mac != "" {
				inside(doc, "Config")["MacAddress"] = mac
			}
		}},
		{"1.48", without("", "ImageManifestDescriptor")},
		{"1.45", func(doc map[string]any) {
			for name, n := range inside(inside(doc, "NetworkSettings"), "Networks") {
				if e, ok := n.(map[string]any); ok && name != dn.NetworkBridge && e["DNSNames"] != nil {
					have, _ := e["Aliases"].([]any)
					e["Aliases"] = append(slices.Clone(have), id[:12])
				}
			}
		}},
		{"1.44", func(doc map[string]any) {
			for _, n := range inside(inside(doc, "NetworkSettings"), "Networks") {
				if e, ok := n.(map[string]any); ok {
					delete(e, "DNSNames")
				}
			}
		}},
		{"1.42", setting("HostConfig", map[string]any{"KernelMemory": 0, "KernelMemoryTCP": 0})},
	}
}

// addressesAtTop adds the default network's address at the top of NetworkSettings.
func addressesAtTop(doc map[string]any) {
	n := inside(doc, "NetworkSettings")
	for k, v := range map[string]any{"Bridge": "", "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": nil, "SecondaryIPv6Addresses": nil,
		"EndpointID": "", "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": ""} {
		n[k] = v
	}
	if bridge, ok := inside(n, "Networks")[dn.NetworkBridge].(map[string]any); ok {
		for _, k := range []string{"EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress"} {
			n[k] = bridge[k]
		}
	}
}

var infoShapes = []shape{
	{"1.50", without("", "DiscoveredDevices")},
	{"1.49", without("", "FirewallBackend")},
	{"1.50", setting("", map[string]any{"BridgeNfIptables": false, "BridgeNfIp6tables": false})},
	{"1.49", func(doc map[string]any) {
		setting("RegistryConfig", map[string]any{"AllowNondistributableArtifactsCIDRs": nil, "AllowNondistributableArtifactsHostnames": nil})(doc)
		for _, name := range []string{"ContainerdCommit", "RuncCommit", "InitCommit"} {
			setting(name, map[string]any{"Expected": inside(doc, name)["ID"]})(doc)
		}
	}},
	{"1.44", func(doc map[string]any) {
		for _, r := range inside(doc, "Runtimes") {
			if r, ok := r.(map[string]any); ok {
				delete(r, "status")
			}
		}
	}},
	{"1.42", setting("", map[string]any{"KernelMemory": false, "KernelMemoryTCP": false})},
	{"1.39", func(doc map[string]any) {
		for _, k := range []string{"KernelVersion", "OperatingSystem"} {
			if doc[k] == "" {
				doc[k] = "<unknown>"
			}
		}
	}},
	{"1.25", func(doc map[string]any) {
		doc["ExecutionDriver"] = "<not supported>"
		options, _ := doc["SecurityOptions"].([]any)
		for i, o := range options {
			if text, ok := o.(string); ok {
				options[i] = nameOnly(text)
			}
		}
	}},
}

// usageShapes are those of the use of the disk; builder are the bytes that caches of builds take.
func usageShapes(builder int64) []shape {
	return []shape{
		{"1.44", func(doc map[string]any) {
			images, _ := doc["Images"].([]any)
			for _, img := range images {
				virtualSize(img.(map[string]any))
			}
		}},
		{"1.42", setting("", map[string]any{"BuilderSize": builder})},
	}
}

// nameOnly is a security option in its oldest form: "seccomp" of "name=seccomp,profile=builtin".
func nameOnly(option string) string {
	for _, f := range strings.Split(option, ",") {
		if name, ok := strings.CutPrefix(f, "name="); ok {
			return name
		}
	}
	return option
}

// olderCreate gives a request the defaults of its version, and takes from it what its version does not know. Source: the version history.
func olderCreate(version string, req *dc.CreateRequest) {
	before := func(v string) bool { return compareVersions(version, v) < 0 }
	h := req.HostConfig
	if before("1.44") && req.Config.Healthcheck != nil {
		req.Config.Healthcheck.StartInterval = 0
	}
	if before("1.43") {
		h.Annotations = nil
	}
	if before("1.42") {
		h.ConsoleSize = [2]uint{}
	}
	if before("1.41") && h.CgroupnsMode == "" {
		h.CgroupnsMode = dc.CgroupnsModeHost
	}
	if before("1.40") && h.IpcMode == "" {
		h.IpcMode = dc.IPCModeShareable
	}
}
