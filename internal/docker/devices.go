package docker

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	dc "github.com/moby/moby/api/types/container"

	"nau/internal/engine/cdi"
	"nau/internal/engine/spec"
)

// devices maps --device; a missing node is refused.
func devices(h *dc.HostConfig) ([]spec.Device, error) {
	var out []spec.Device
	for _, d := range h.Devices {
		if strings.Trim(d.CgroupPermissions, "rwm") != "" {
			return nil, badRequest("invalid device mode: %s", d.CgroupPermissions)
		}
		if _, err := spec.ReadDevices(d.PathOnHost, d.PathOnHost); errors.Is(err, fs.ErrNotExist) {
			return nil, fail(500, "error gathering device information while adding custom device %q: no such file or directory", d.PathOnHost)
		} else if err != nil {
			return nil, fail(500, "error gathering device information while adding custom device %q: %v", d.PathOnHost, err)
		}
		inside := d.PathInContainer
		if inside == "" {
			inside = d.PathOnHost
		}
		out = append(out, spec.Device{Host: d.PathOnHost, Container: inside, Permissions: d.CgroupPermissions})
	}
	return out, nil
}

// gpuClass is the class of the kinds ("vendor.example/gpu") that --gpus asks for.
const gpuClass = "gpu"

// deviceRequests maps --gpus, and --device with the name of a vendor's device. All such devices are described by CDI here: no vendor has a
// driver of its own in this program.
func deviceRequests(list []dc.DeviceRequest, load func() *cdi.Registry) ([]string, error) {
	var out []string
	for _, r := range list {
		none := badRequest("could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities)
		if len(r.Options) > 0 {
			return nil, badRequest("options of a device request are not known to CDI: %v", r.Options)
		}
		if r.Count != 0 && len(r.DeviceIDs) > 0 {
			return nil, badRequest("cannot set both Count and DeviceIDs on device request")
		}
		if r.Driver == "cdi" {
			for _, id := range r.DeviceIDs {
				if !cdi.IsName(id) {
					return nil, badRequest("invalid CDI device name %q: want vendor/class=name", id)
				}
				out = append(out, id)
			}
			if len(r.DeviceIDs) == 0 {
				return nil, none
			}
			continue
		}
		if !slices.ContainsFunc(r.Capabilities, func(all []string) bool { return slices.Contains(all, gpuClass) }) {
			return nil, none
		}
		found, err := gpus(load().Devices(func(kind string) bool {
			vendor, class, _ := strings.Cut(kind, "/")
			return class == gpuClass && (r.Driver == "" || vendor == r.Driver || strings.HasPrefix(vendor, r.Driver+"."))
		}), r, none)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// gpus chooses among the devices that there are: those that are named, as many as asked for, or all.
func gpus(have []string, r dc.DeviceRequest, none error) ([]string, error) {
	if len(have) == 0 {
		return nil, none
	}
	kind, _, _ := strings.Cut(have[0], "=") // of one vendor: a container gets no mixture
	var single []string
	all := ""
	for _, d := range have {
		k, name, _ := strings.Cut(d, "=")
		switch {
		case k != kind:
		case name == "all":
			all = d
		default:
			single = append(single, d)
		}
	}
	if len(r.DeviceIDs) > 0 {
		var out []string
		for _, id := range r.DeviceIDs {
			name := kind + "=" + id
			if !slices.Contains(have, name) {
				return nil, badRequest("no GPU %s: there are %s", id, strings.Join(have, ", "))
			}
			out = append(out, name)
		}
		return out, nil
	}
	switch n := max(r.Count, -1); {
	case n == -1 && all != "":
		return []string{all}, nil
	case n == -1:
		return single, nil
	case n == 0:
		return nil, badRequest("a device request needs a Count or DeviceIDs")
	case n > len(single):
		return nil, badRequest("%d GPUs are asked for, there are %d: %s", n, len(single), strings.Join(single, ", "))
	default:
		return single[:n], nil
	}
}
