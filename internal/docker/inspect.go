package docker

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
)

// matches is Docker's name filter: a regular expression over the name with and without its slash.
func matches(pattern, name string) bool {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return strings.Contains(name, pattern)
	}
	return re.MatchString(name) || re.MatchString("/"+name)
}

// inspectContainer answers GET /containers/{id}/json.
func (s *Server) inspectContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	st := load(r)
	doc := s.inspect(r, st)
	if c.flag("size") {
		rw, root := s.sizes(c.ctx(), r)
		doc.SizeRw, doc.SizeRootFs = &rw, &root
	}
	mac := ""
	if n, err := s.network(string(st.Host.NetworkMode)); err == nil && st.Networks[n.ID] != nil {
		mac = st.Networks[n.ID].MacAddress.String()
	}
	return c.shaped(http.StatusOK, doc, inspectedContainer(r.ID, mac))
}

func (s *Server) inspect(r *container.Record, st *stored) dc.InspectResponse {
	path, args := command(st)
	state := s.state(r)
	pid := r.Pid
	if !running(r) {
		pid = 0
	}
	doc := dc.InspectResponse{
		ID: r.ID, Created: stamp(r.Created), Path: path, Args: args, Image: r.Image.String(), Name: "/" + r.Config.Name, RestartCount: st.Restarts,
		Driver: "overlay2", Platform: "linux", Mounts: st.Mounts, Config: st.Config, HostConfig: st.Host, ExecIDs: s.execs.of(r.ID), LogPath: r.Config.Log.Path,
		State: &dc.State{Status: state, Running: running(r) || state == dc.StateRestarting, Paused: r.State == container.Paused, Restarting: state == dc.StateRestarting,
			OOMKilled: r.OOMKilled, Pid: pid, ExitCode: r.ExitCode, Error: r.Error, StartedAt: stamp(r.Started), FinishedAt: stamp(r.Finished), Health: s.health.doc(r.ID, r.Starts)},
		NetworkSettings: &dc.NetworkSettings{Ports: dn.PortMap{}, Networks: s.endpoints(r, st)},
	}
	if running(r) {
		doc.State.FinishedAt = stamp(r.Before)
	}
	if d, ok := s.e.Images.Manifest(r.Image); ok {
		doc.ImageManifestDescriptor = &d
	}
	if t := st.Host.LogConfig.Type; t == localLog || forwards(t) {
		doc.LogPath = "" // no file that is the client's to read
	}
	if len(st.Host.Links) > 0 {
		host := *st.Host
		host.Links = s.linked(r, st.Host)
		doc.HostConfig = &host
	}
	if doc.Mounts == nil {
		doc.Mounts = []dc.MountPoint{}
	}
	if sb := s.placeOf(r); sb != nil {
		files := filepath.Join(s.e.Config().RunDir, "sandboxes", sb.ID)
		doc.ResolvConfPath, doc.HostnamePath, doc.HostsPath = filepath.Join(files, "resolv.conf"), filepath.Join(files, "hostname"), filepath.Join(files, "hosts")
		if sb.State == sandbox.Ready && st.Own {
			doc.NetworkSettings.SandboxID = sb.ID
			doc.NetworkSettings.SandboxKey, _ = s.e.Sandboxes.Netns(sb.ID)
			for p := range st.Config.ExposedPorts {
				doc.NetworkSettings.Ports[p] = nil
			}
			for _, e := range sb.Endpoints {
				for _, p := range e.Ports {
					port, _ := dn.PortFrom(p.Container, dn.IPProtocol(p.Protocol.String()))
					for _, at := range s.e.Networks.ReachedAt(p, &e) {
						doc.NetworkSettings.Ports[port] = append(doc.NetworkSettings.Ports[port], dn.PortBinding{HostIP: at, HostPort: itoa(int(p.Host))})
					}
				}
			}
		}
	}
	if m, err := s.e.Layers.Mounts(s.life, r.ID); err == nil {
		doc.GraphDriver = &storage.DriverData{Name: "overlay2", Data: map[string]string{"ID": r.ID, "LowerDir": strings.Join(m.Lower, ":"), "UpperDir": m.Upper, "WorkDir": m.Work,
			"MergedDir": s.e.Containers.Rootfs(r.ID)}}
	}
	return doc
}
