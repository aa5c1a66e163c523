package docker

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	dm "github.com/moby/moby/api/types/mount"
	dv "github.com/moby/moby/api/types/volume"

	"nau/internal/engine/network"
	"nau/internal/engine/record"
	"nau/internal/engine/volume"
)

type endpoint = network.Endpoint

func (s *Server) volumeDoc(v *volume.Volume) dv.Volume {
	labels := v.Labels
	if v.Anonymous {
		labels = map[string]string{"com.docker.volume.anonymous": ""}
		for k, val := range v.Labels {
			labels[k] = val
		}
	}
	return dv.Volume{Name: v.Name, Driver: "local", Mountpoint: s.volumes.Path(v.Name), Labels: labels, Options: v.Options, Scope: "local",
		CreatedAt: v.Created.Format("2006-01-02T15:04:05Z07:00")}
}

// volumeUsers are the containers that have the volume mounted, running or not.
func (s *Server) volumeUsers(name string) []string {
	var out []string
	for _, r := range s.e.Containers.List() {
		if r.Config.Origin != Origin {
			continue
		}
		for _, m := range load(r).Mounts {
			if m.Type == dm.TypeVolume && m.Name == name {
				out = append(out, r.ID)
				break
			}
		}
	}
	return out
}

func (s *Server) createVolume(c *call) error {
	var req dv.CreateRequest
	if err := readJSON(c.Request, &req); err != nil {
		return err
	}
	if req.Driver != "" && req.Driver != "local" {
		return notFound("create %s: error looking up volume plugin %s: plugin %q not found", req.Name, req.Driver, req.Driver)
	}
	v := volume.Volume{Name: req.Name, Options: req.DriverOpts, Labels: req.Labels}
	if v.Name == "" {
		v.Name, v.Anonymous = record.NewID(), true
	}
	if err := checkVolumeName(v.Name); err != nil {
		return err
	}
	made, fresh, err := s.volumes.Create(v)
	if err != nil {
		if errors.Is(err, volume.ErrInUse) {
			return conflict("conflict: volume already exists with different options: %s", v.Name)
		}
		if errors.Is(err, volume.ErrInvalid) {
			return badRequest("create %s: %v", v.Name, err)
		}
		return err
	}
	if fresh {
		s.hub.volume("create", made.Name, nil)
	}
	return c.json(http.StatusCreated, s.volumeDoc(made))
}

func (s *Server) listVolumes(c *call) error {
	f, err := parseFilters(c.get("filters"), "dangling", "driver", "label", "name")
	if err != nil {
		return err
	}
	dangling, err := f.boolean("dangling", false)
	if err != nil {
		return err
	}
	out := dv.ListResponse{Volumes: []dv.Volume{}}
	for _, v := range s.volumes.List() {
		doc := s.volumeDoc(v)
		if !f.exact("driver", "local") || !f.labels(doc.Labels) || !f.any("name", func(n string) bool { return strings.Contains(v.Name, n) }) {
			continue
		}
		if len(f["dangling"]) > 0 && dangling != (len(s.volumeUsers(v.Name)) == 0) {
			continue
		}
		out.Volumes = append(out.Volumes, doc)
	}
	return c.json(http.StatusOK, out)
}

// updateVolume answers PUT /volumes/{name}, which is for volumes of a swarm.
func (s *Server) updateVolume(c *call) error {
	return fail(http.StatusServiceUnavailable, "volume update only valid for cluster volumes, but swarm is unavailable")
}

func (s *Server) inspectVolume(c *call) error {
	v, err := s.volumes.Get(c.vars["name"])
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, s.volumeDoc(v))
}

func (s *Server) removeVolume(c *call) error {
	name := c.vars["name"]
	if _, err := s.volumes.Get(name); err != nil {
		if c.flag("force") {
			return c.done(http.StatusNoContent)
		}
		return err
	}
	if users := s.volumeUsers(name); len(users) > 0 {
		slices.Sort(users)
		return conflict("remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	if err := s.volumes.Remove(name); err != nil {
		return err
	}
	s.hub.volume("destroy", name, nil)
	return c.done(http.StatusNoContent)
}

func (s *Server) pruneVolumes(c *call) error {
	f, err := parseFilters(c.get("filters"), "all", "label", "label!")
	if err != nil {
		return err
	}
	all, err := f.boolean("all", !c.atLeast("1.42"))
	if err != nil {
		return err
	}
	report := dv.PruneReport{VolumesDeleted: []string{}}
	for _, v := range s.volumes.List() {
		// One with options is somebody else's data, such as a file server's, or a description that is dear.
		if len(v.Options) > 0 || !all && !v.Anonymous || !f.labels(v.Labels) || len(s.volumeUsers(v.Name)) > 0 {
			continue
		}
		size := s.volumes.Size(v.Name)
		if err := s.volumes.Remove(v.Name); err != nil {
			return fmt.Errorf("prune volumes: %w", err)
		}
		s.hub.volume("destroy", v.Name, nil)
		report.VolumesDeleted = append(report.VolumesDeleted, v.Name)
		report.SpaceReclaimed += uint64(size)
	}
	s.hub.publish("volume", "prune", "", map[string]string{"reclaimed": fmt.Sprint(report.SpaceReclaimed)}, zero)
	return c.json(http.StatusOK, report)
}
