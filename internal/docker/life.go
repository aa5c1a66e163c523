package docker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	dc "github.com/moby/moby/api/types/container"
	dm "github.com/moby/moby/api/types/mount"

	"nau/internal/engine/container"
	"nau/internal/engine/network"
	"nau/internal/engine/sandbox"
)

// defaultStop is how long a container may take to stop.
const defaultStop = 10 * time.Second

// startContainer answers POST /containers/{id}/start.
func (s *Server) startContainer(c *call) error {
	if name := c.get("checkpoint"); name != "" {
		if !nameRule.MatchString(name) || strings.HasPrefix(name, "/") {
			return badRequest("invalid checkpoint ID %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
		}
		return badRequest("checkpoint is only supported in experimental mode")
	}
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	if c.ContentLength > int64(len("null\r\n")) || c.ContentLength < 0 { // some clients send null or {}
		return badRequest("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if r.State == container.Paused {
		return conflict("cannot start a paused container, try unpause instead")
	}
	if running(r) {
		return errNotModified
	}
	if err := s.start(c.ctx(), r.ID, true); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// refuseCheckpoint answers for checkpoints, which an engine without experimental features has not.
func (s *Server) refuseCheckpoint(*call) error {
	return fail(http.StatusNotImplemented, "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.")
}

// start runs a container: its place first, then its volumes, then itself. asked tells a user's wish from a policy's.
func (s *Server) start(ctx context.Context, id string, asked bool) error {
	ctx = context.WithoutCancel(ctx) // a client that goes away leaves no half-started container
	defer s.op.lock(id)()
	r, err := s.e.Containers.Get(id)
	if err != nil {
		return err
	}
	if running(r) {
		return nil
	}
	st := load(r)
	if !asked && st.Stopped {
		return nil // by a user, meanwhile
	}
	if asked {
		s.restarts.forget(id)
		if st.Stopped || st.Failures > 0 {
			if err := s.change(id, func(st *stored) { st.Stopped, st.Failures = false, 0 }); err != nil {
				return err
			}
		}
	}
	if err = s.launch(ctx, r, st); err == nil {
		s.sendLog(r, st)
		s.e.Images.MarkUsed(r.Image, time.Now())
		s.watchHealth(r, st)
		return nil
	}
	s.give(ctx, r, st)
	told, code := startError(err)
	if code == container.StartExit && r.ExitCode != 0 {
		code = r.ExitCode // of the last run: that it did not start is told by the words
	}
	s.notStarted(r, told, code)
	if st.Host.AutoRemove {
		s.ended.Go(func() { _ = s.remove(context.WithoutCancel(ctx), id, removal{force: true, volumes: true}) })
	}
	return told
}

func (s *Server) launch(ctx context.Context, r *container.Record, st *stored) error {
	if err := checkLog(r, st); err != nil {
		return err
	}
	if st.Host.IpcMode.IsContainer() {
		other, err := s.find(st.Host.IpcMode.Container())
		if err != nil {
			return conflict("failed to join IPC namespace: %v", err)
		}
		if m := load(other).Host.IpcMode; m.IsPrivate() || m.IsNone() {
			return conflict("failed to join IPC namespace: container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", other.ID)
		}
	}
	if st.Host.PidMode.IsContainer() {
		other, err := s.find(st.Host.PidMode.Container())
		if err != nil {
			return conflict("failed to join PID namespace: %v", err)
		}
		if !running(other) {
			return fail(http.StatusInternalServerError, "failed to join PID namespace: container %s is not running", other.ID)
		}
	}
	if len(st.Absent) > 0 {
		if err := s.arrive(ctx, r, st); err != nil {
			return err
		}
		if r, err := s.e.Containers.Get(r.ID); err == nil {
			st = load(r)
		}
	}
	if st.Own {
		if err := s.openPlace(ctx, r, st); err != nil {
			return err
		}
	} else if err := s.joinPlace(ctx, r, st); err != nil {
		return err
	}
	for _, m := range st.Mounts {
		if m.Type == dm.TypeVolume {
			if err := s.volumes.Use(m.Name, r.ID); err != nil {
				return err
			}
			s.hub.volume("mount", m.Name, map[string]string{"container": r.ID, "destination": m.Destination, "read/write": strconv.FormatBool(m.RW), "propagation": string(m.Propagation)})
		}
	}
	return s.e.Containers.Start(ctx, r.ID)
}

// joinPlace finds the sandbox of the container whose network this one shares: the one that has the name now.
func (s *Server) joinPlace(ctx context.Context, r *container.Record, st *stored) error {
	other, err := s.find(st.Host.NetworkMode.ConnectedContainer())
	if err != nil {
		return fail(http.StatusInternalServerError, "joining network namespace of container: %v", err)
	}
	if other.ID == r.ID {
		return fail(http.StatusInternalServerError, "cannot join own network namespace")
	}
	if before := r.Config.Sandbox; before != other.Config.Sandbox {
		if err := s.e.Containers.Update(r.ID, func(r *container.Record) { r.Config.Sandbox = other.Config.Sandbox }); err != nil {
			return err
		}
		if err := s.dropPlace(ctx, before); err != nil {
			return err
		}
	}
	if sb, err := s.e.Sandboxes.Get(other.Config.Sandbox); err != nil || sb.State != sandbox.Ready {
		return conflict("cannot join network of a non running container: %s", other.ID)
	}
	return nil
}

// dropPlace removes a sandbox that nobody is in.
func (s *Server) dropPlace(ctx context.Context, id string) error {
	sb, err := s.e.Sandboxes.Get(id)
	if err != nil || sb.Config.Origin != Origin || len(s.e.Containers.In(id)) > 0 {
		return nil
	}
	s.resolve.left(id)
	return s.e.Sandboxes.Remove(ctx, id)
}

// openPlace makes the container's sandbox ready, with its ports.
func (s *Server) openPlace(ctx context.Context, r *container.Record, st *stored) error {
	sb, err := s.e.Sandboxes.Get(r.Config.Sandbox)
	if err != nil {
		return err
	}
	if sb.State == sandbox.Ready {
		return nil
	}
	for try := 0; ; try++ {
		ports, picked, err := s.choosePorts(st)
		if err != nil {
			return err
		}
		links, env, err := s.links(r, st)
		if err != nil {
			return err
		}
		hosts, err := extraHosts(st.Host.ExtraHosts, s.gatewayOf(st.Host.NetworkMode))
		if err != nil {
			return err
		}
		if len(ports) > 0 || len(links) > 0 || len(sb.Config.Ports) > 0 {
			if err := s.e.Sandboxes.Update(sb.ID, func(r *sandbox.Record) {
				r.Config.Ports = ports
				r.Config.Hosts = append(hosts, links...)
			}); err != nil {
				return err
			}
		}
		if len(links) > 0 {
			if err := s.e.Containers.Update(r.ID, func(r *container.Record) { r.Config.Process.Env = slices.Concat(st.Config.Env, env) }); err != nil {
				return err
			}
		}
		err = s.e.Sandboxes.Start(ctx, sb.ID)
		if err == nil {
			s.networkEvents("connect", r)
			if err := s.relink(r); err != nil {
				return err
			}
			return s.resolve.joined(sb.ID)
		}
		if (errors.Is(err, network.ErrPortTaken) || errors.Is(err, network.ErrPortBusy)) && picked && try < 16 {
			continue
		}
		return placeError(r, ports, err)
	}
}

// notStarted records why a container did not start. It is what it was before: never run, or ended at the end of its last run.
func (s *Server) notStarted(before *container.Record, why error, code int) {
	err := s.e.Containers.Update(before.ID, func(r *container.Record) {
		r.State, r.Started, r.Finished, r.ExitCode, r.Error = before.State, before.Started, before.Finished, code, why.Error()
	})
	if err != nil {
		s.log.Warn("record why a container did not start", "container", before.ID, "error", err)
	}
}

// give takes back what a container that does not run holds: volumes, and its place when nobody else is in it. The caller holds the lock.
func (s *Server) give(ctx context.Context, r *container.Record, st *stored) {
	for _, m := range st.Mounts {
		if m.Type == dm.TypeVolume {
			if err := s.volumes.Release(m.Name, r.ID); err != nil {
				s.log.Warn("release volume", "volume", m.Name, "error", err)
			}
		}
	}
	sb, err := s.e.Sandboxes.Get(r.Config.Sandbox)
	if err != nil || sb.Config.Origin != Origin || sb.State != sandbox.Ready {
		return
	}
	for _, other := range s.e.Containers.In(sb.ID) {
		if running(other) {
			return
		}
	}
	s.resolve.left(sb.ID)
	s.networkEvents("disconnect", r)
	for _, m := range st.Mounts {
		if m.Type == dm.TypeVolume {
			s.hub.volume("unmount", m.Name, map[string]string{"container": r.ID})
		}
	}
	if err := s.e.Sandboxes.Stop(ctx, sb.ID); err != nil {
		s.log.Warn("stop sandbox", "sandbox", sb.ID, "error", err)
	}
}

// settle is give for a container that may have been started again or removed meanwhile.
func (s *Server) settle(ctx context.Context, id string) {
	defer s.op.lock(id)()
	r, err := s.e.Containers.Get(id)
	if err != nil || running(r) || r.Config.Origin != Origin {
		return
	}
	s.endHealth(r)
	s.give(context.WithoutCancel(ctx), r, load(r))
}

// timeout reads ?t= in seconds; -1 waits without end.
func (c *call) timeout(st *stored) (time.Duration, error) {
	if v := c.get("t"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return 0, badRequest("invalid value for t: %s", v)
		}
		if n < 0 {
			return 365 * 24 * time.Hour, nil
		}
		return time.Duration(n) * time.Second, nil
	}
	if st.Config.StopTimeout != nil {
		if *st.Config.StopTimeout < 0 {
			return 365 * 24 * time.Hour, nil
		}
		return time.Duration(*st.Config.StopTimeout) * time.Second, nil
	}
	return defaultStop, nil
}

// halt stops a container because somebody asked; signal replaces the container's own for this once.
func (s *Server) halt(ctx context.Context, r *container.Record, signal string, timeout time.Duration) error {
	if r.Config.Origin == Origin {
		if err := s.change(r.ID, func(st *stored) { st.Stopped = true }); err != nil {
			return err
		}
		s.restarts.forget(r.ID)
	}
	if signal != "" && timeout > 0 {
		sig, err := container.ParseSignal(signal)
		if err != nil {
			return badRequest("cannot stop container: %s: invalid signal: %s", r.Config.Name, signal)
		}
		if err := s.e.Containers.Kill(ctx, r.ID, sig); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if _, err := s.e.Containers.Wait(wait, r.ID); err == nil {
			s.settle(ctx, r.ID)
			return nil
		}
		timeout = 0
	}
	if err := s.e.Containers.Stop(ctx, r.ID, timeout); err != nil {
		return fmt.Errorf("cannot stop container: %s: %w", r.Config.Name, err)
	}
	s.settle(ctx, r.ID)
	s.hub.container("stop", r, nil)
	return nil
}

// started is the container when a start that is under way has ended: its process may have spoken already, and who heard it counts on its running.
func (s *Server) started(r *container.Record) (*container.Record, error) {
	if running(r) {
		return r, nil
	}
	s.op.lock(r.ID)()
	return s.e.Containers.Get(r.ID)
}

// stopContainer answers POST /containers/{id}/stop.
func (s *Server) stopContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	if r, err = s.started(r); err != nil {
		return err
	}
	st := load(r)
	if !running(r) {
		if s.between(r) {
			return s.endRestarts(c, r)
		}
		return errNotModified
	}
	timeout, err := c.timeout(st)
	if err != nil {
		return err
	}
	if err := s.halt(context.WithoutCancel(c.ctx()), r, c.get("signal"), timeout); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// endRestarts answers for a container that waits for its next run: there is none.
func (s *Server) endRestarts(c *call, r *container.Record) error {
	s.restarts.forget(r.ID)
	if err := s.change(r.ID, func(st *stored) { st.Stopped = true }); err != nil {
		return err
	}
	s.settle(c.ctx(), r.ID)
	return c.done(http.StatusNoContent)
}

// restartContainer answers POST /containers/{id}/restart.
func (s *Server) restartContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	timeout, err := c.timeout(load(r))
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(c.ctx())
	release := s.restarts.hold(r.ID) // its end is not the end that a policy or --rm waits for
	defer func() {
		release()
		if now, err := s.e.Containers.Get(r.ID); err == nil && !running(now) {
			s.ended.Go(func() { s.died(r.ID) })
		}
	}()
	if running(r) {
		if err := s.halt(ctx, r, c.get("signal"), timeout); err != nil {
			return err
		}
	}
	if err := s.start(ctx, r.ID, true); err != nil {
		return err
	}
	s.hub.container("restart", r, nil)
	return c.done(http.StatusNoContent)
}

// killContainer answers POST /containers/{id}/kill.
func (s *Server) killContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return fmt.Errorf("cannot kill container: %s: %w", c.vars["id"], err)
	}
	sig := syscall.SIGKILL
	if v := c.get("signal"); v != "" {
		if sig, err = container.ParseSignal(v); err != nil {
			return badRequest("cannot kill container: %s: invalid signal: %s", c.vars["id"], v)
		}
	}
	if r, err = s.started(r); err != nil {
		return fmt.Errorf("cannot kill container: %s: %w", c.vars["id"], err)
	}
	if s.between(r) { // between two runs it counts as running: the next one does not come
		return s.endRestarts(c, r)
	}
	if !running(r) {
		return conflict("cannot kill container: %s: container %s is not running", c.vars["id"], r.ID)
	}
	if r.Config.Origin == Origin && (sig == syscall.SIGKILL || sig == s.stopSignal(r)) { // it is meant to end, and not to come again
		if err := s.change(r.ID, func(st *stored) { st.Stopped = true }); err != nil {
			return err
		}
	}
	if r.State == container.Paused && sig == syscall.SIGKILL {
		if err := s.e.Containers.Resume(c.ctx(), r.ID); err != nil {
			return err
		}
	}
	if err := s.e.Containers.Kill(c.ctx(), r.ID, sig); err != nil {
		return fmt.Errorf("cannot kill container: %s: %w", c.vars["id"], err)
	}
	if sig == syscall.SIGKILL {
		wait, cancel := context.WithTimeout(c.ctx(), defaultStop)
		defer cancel()
		if _, err := s.e.Containers.Wait(wait, r.ID); err == nil {
			s.settle(c.ctx(), r.ID)
		}
	}
	return c.done(http.StatusNoContent)
}

// stopSignal is the signal that asks a container to end.
func (s *Server) stopSignal(r *container.Record) syscall.Signal {
	name := r.Config.StopSignal
	if img, err := s.e.Images.Get(r.Image.String()); name == "" && err == nil {
		name = img.Config.Config.StopSignal
	}
	if sig, err := container.ParseSignal(name); err == nil {
		return sig
	}
	return syscall.SIGTERM
}

func (s *Server) pauseContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	switch {
	case r.State == container.Paused:
		return conflict("container %s is already paused", r.ID)
	case !running(r):
		return conflict("container %s is not running", r.ID)
	}
	if err := s.e.Containers.Pause(c.ctx(), r.ID); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

func (s *Server) unpauseContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	if r.State != container.Paused {
		return conflict("Container %s is not paused", r.ID)
	}
	if err := s.e.Containers.Resume(c.ctx(), r.ID); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

func (s *Server) renameContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(c.get("name"), "/")
	switch {
	case name == "":
		return badRequest("neither old nor new names may be empty")
	case !nameRule.MatchString(name):
		return badRequest("Error when allocating new name: Invalid container name (/%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	case name == r.Config.Name:
		return badRequest("Renaming a container with the same name as its current name")
	}
	if other, err := s.e.Containers.Find(name); err == nil && other.Config.Name == name {
		return fmt.Errorf("Error when allocating new name: %w", nameTaken(name, other.ID))
	}
	if err := s.e.Containers.Rename(r.ID, name); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// updateContainer answers POST /containers/{id}/update.
func (s *Server) updateContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	var req dc.UpdateConfig
	if err := readJSON(c.Request, &req); err != nil {
		return err
	}
	st := load(r)
	if !c.atLeast("1.40") {
		req.PidsLimit = nil // which was not to be changed then
	}
	if n := req.PidsLimit; n != nil && *n < 0 {
		*n = 0 // no limit has one name
	}
	next, err := merged(st.Host.Resources, req.Resources)
	if err != nil {
		return fmt.Errorf("Cannot update container %s: %w", r.ID, err)
	}
	l, warnings, err := limits(&next, s.can)
	if err != nil {
		return err
	}
	if req.RestartPolicy.Name != "" {
		if err := dc.ValidateRestartPolicy(req.RestartPolicy); err != nil {
			return badRequest("%v", err)
		}
		if st.Host.AutoRemove && !req.RestartPolicy.IsNone() {
			return conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
	}
	if err := s.e.Containers.Limit(c.ctx(), r.ID, l); err != nil {
		return fmt.Errorf("Cannot update container %s: %w", r.ID, err)
	}
	err = s.change(r.ID, func(st *stored) {
		st.Host.Resources = next
		if req.RestartPolicy.Name != "" {
			st.Host.RestartPolicy = req.RestartPolicy
		}
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, dc.UpdateResponse{Warnings: warnings})
}

func (s *Server) resizeContainer(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	size, err := c.size()
	if err != nil {
		return err
	}
	if !running(r) {
		return conflict("container %s is not running", r.ID)
	}
	if err := s.e.Containers.Resize(c.ctx(), r.ID, size); err != nil {
		return err
	}
	s.hub.container("resize", r, map[string]string{"height": strconv.Itoa(int(size.Height)), "width": strconv.Itoa(int(size.Width))})
	return c.done(http.StatusOK)
}

// side reads one side of a terminal; what no terminal has is taken for the most that it can have.
func side(name, text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return 0, badRequest("invalid resize %s %q: %v", name, text, strconv.ErrRange)
		}
		return 0, badRequest("invalid resize %s %q: %v", name, text, errors.Unwrap(err))
	}
	return uint16(min(n, 65535)), nil
}

func (c *call) size() (container.Size, error) {
	h, err := side("height", c.get("h"))
	if err != nil {
		return container.Size{}, err
	}
	w, err := side("width", c.get("w"))
	return container.Size{Height: h, Width: w}, err
}

// removal says how to remove.
type removal struct{ force, volumes bool }

// removeContainer answers DELETE /containers/{id}.
func (s *Server) removeContainer(c *call) error {
	if c.flag("link") {
		return s.removeLink(c)
	}
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	o := removal{force: c.flag("force"), volumes: c.flag("v")}
	if running(r) && !o.force {
		state, advice := "running", "stop the container before removing or force remove"
		if r.State == container.Paused {
			state, advice = "paused", "unpause and then stop the container before removing or force remove"
		}
		return conflict("cannot remove container %q: container is %s: %s", c.vars["id"], state, advice)
	}
	if err := s.remove(context.WithoutCancel(c.ctx()), r.ID, o); err != nil {
		return err
	}
	return c.done(http.StatusNoContent)
}

// remove deletes a container, its own sandbox, and if asked its anonymous volumes.
func (s *Server) remove(ctx context.Context, id string, o removal) error {
	defer s.op.lock(id)()
	r, err := s.e.Containers.Get(id)
	if err != nil {
		return nil
	}
	st := load(r)
	s.restarts.forget(id)
	s.health.forget(id)
	if running(r) {
		if !o.force {
			return conflict("cannot remove container %q: container is running", "/"+r.Config.Name)
		}
		if err := s.e.Containers.Stop(ctx, id, 0); err != nil {
			return err
		}
	}
	s.give(ctx, r, st)
	sending, cancel := context.WithTimeout(ctx, defaultStop)
	s.senders.flush(sending, id)
	cancel()
	if err := s.e.Containers.Remove(ctx, id); err != nil {
		return err
	}
	if err := s.dropPlace(ctx, r.Config.Sandbox); err != nil {
		return err
	}
	if o.volumes {
		for _, m := range st.Mounts {
			if m.Type != dm.TypeVolume {
				continue
			}
			if v, err := s.volumes.Get(m.Name); err == nil && v.Anonymous && len(s.volumeUsers(m.Name)) == 0 {
				if err := s.volumes.Remove(m.Name); err != nil {
					s.log.Warn("remove volume", "volume", m.Name, "error", err)
				} else {
					s.hub.volume("destroy", m.Name, nil)
				}
			}
		}
	}
	return nil
}
