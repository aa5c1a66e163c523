package container

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/engine/cdi"
	"nau/internal/engine/events"
	"nau/internal/engine/layer"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
	"nau/internal/oci/monitor"
)

// Start runs a container that is created or has exited. When it goes wrong, the record says why and the container has exited with
// StartExit.
func (m *Manager) Start(ctx context.Context, id string) error {
	e, err := m.turn(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	old, _ := m.current(e)
	if old.State == Running || old.State == Paused {
		return fmt.Errorf("start container %s: it is %s: %w", id[:12], old.State, ErrState)
	}
	r := *old
	if !old.Finished.IsZero() {
		r.Before = old.Finished
	}
	r.State, r.ExitCode, r.OOMKilled, r.Error, r.Finished, r.Lost = Created, 0, false, "", time.Time{}, false
	if err := m.launch(ctx, e, &r); err != nil {
		e.release()
		m.decline(id, err)
		err = errors.Join(err, m.forget(context.WithoutCancel(ctx), &r))
		r.State, r.ExitCode, r.Error, r.Finished, r.Pid = Exited, StartExit, err.Error(), time.Now(), 0
		if r.Started.IsZero() {
			r.Started = r.Finished
		}
		return errors.Join(fmt.Errorf("start container %s: %w", cmp.Or(r.Config.Name, id[:12]), err), m.put(e, &r))
	}
	m.mu.Lock()
	e.gone = make(chan struct{})
	m.mu.Unlock()
	keep := m.put
	if r.Config.Restart.Wanted() {
		keep = m.commit // it is to run after a loss of power too
	}
	if err := keep(e, &r); err != nil {
		return err
	}
	m.publish(&r, events.Start)
	return nil
}

// launch mounts, builds and runs, and fills in what became of it.
func (m *Manager) launch(ctx context.Context, e *entry, r *Record) error {
	place, err := m.set.Sandboxes.Place(r.Config.Sandbox)
	if err != nil {
		return err
	}
	inherited, err := m.inherited(r)
	if err != nil {
		return err
	}
	runtime, err := m.runtimePath(r)
	if err != nil {
		return err
	}
	if err := m.mount(ctx, r, place.Namespaces.User); err != nil {
		return err
	}
	if runtime != "" && !r.Owners.IsZero() {
		if err := r.admit(m.bundle(r.ID)); err != nil {
			return err
		}
	}
	root, err := kernel.OpenPath(m.rootfs(r.ID))
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if r.User, err = spec.LookupUser(root, r.Config.Process.User, inherited.User); err != nil {
		return err
	}
	if err := m.prepare(r, root, inherited); err != nil {
		return err
	}
	in := m.input(r, place, inherited)
	if in.Mounts, err = m.shownMounts(ctx, r); err != nil {
		return err
	}
	if err := m.namespaces(r, &in); err != nil {
		return err
	}
	s, err := spec.Build(in)
	if err != nil {
		return err
	}
	if len(r.Config.CDI) > 0 {
		if err := cdi.Load(m.set.CDIDirs).Inject(s, r.Config.CDI); err != nil {
			return err
		}
	}
	if runtime != "" {
		s.Version = oldest
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode specification: %w", err)
	}
	if err := os.WriteFile(filepath.Join(m.bundle(r.ID), "config.json"), b, 0o600); err != nil {
		return err
	}
	r.Process, r.Cgroup = s.Process, in.CgroupPath
	r.Pid, err = m.set.Runtime.Create(ctx, monitor.CreateRequest{ID: r.ID, Bundle: m.bundle(r.ID), Log: r.Config.Log, Runtime: runtime,
		Terminal: r.Config.Process.Terminal, OpenStdin: r.Config.OpenStdin, StdinOnce: r.Config.StdinOnce,
		Size: [2]uint16{r.Config.Size.Width, r.Config.Size.Height}})
	if err != nil {
		return err
	}
	e.hold(r.Pid) // before it may run, and end
	m.deliver(ctx, r)
	if r.Started, err = m.set.Runtime.Start(ctx, r.ID); err != nil {
		return err
	}
	r.State = Running
	r.Starts++
	return nil
}

// namespaces are what a container has apart from its sandbox's.
func (m *Manager) namespaces(r *Record, in *spec.Input) error {
	switch r.Config.PID {
	case PIDOwn:
		in.Namespaces.PID, in.Namespaces.HostPID = "", false
	case PIDHost:
		in.Namespaces.PID, in.Namespaces.HostPID = "", true
	}
	if r.Config.PIDOf != "" {
		target, err := m.Get(r.Config.PIDOf)
		if err != nil {
			return err
		}
		if target.State != Running {
			return fmt.Errorf("join PID namespace of container %s: it is %s", target.ID[:12], target.State)
		}
		in.Namespaces.PID, in.Namespaces.HostPID = fmt.Sprintf("/proc/%d/ns/pid", target.Pid), false
		if err := r.follow(target, in); err != nil {
			return err
		}
	}
	if r.Config.IPCOf != "" {
		target, err := m.Get(r.Config.IPCOf)
		if err != nil {
			return err
		}
		if target.State != Running {
			return fmt.Errorf("join IPC namespace of container %s: it is %s", target.ID[:12], target.State)
		}
		other, err := m.set.Sandboxes.Place(target.Config.Sandbox)
		if err != nil {
			return err
		}
		in.Namespaces.IPC, in.Namespaces.HostIPC, in.ShmDir = other.Namespaces.IPC, other.Namespaces.HostIPC, other.ShmDir
		if err := r.follow(target, in); err != nil {
			return err
		}
	}
	switch r.Config.CgroupNS {
	case CgroupOwn:
		in.Namespaces.OwnCgroup = true
	case CgroupHost:
		in.Namespaces.HostCgroup = true
	}
	in.NoShm = r.Config.NoShm
	return nil
}

// oldest is the version of the runtime specification that foreign runtimes are told: its fields suffice, and many refuse what is newer than they.
const oldest = "1.0.2"

// Mark names a folder whose files containers of a front see too, beneath what they write: by such files programs know where they run. They are
// no part of what a container wrote.
func (m *Manager) Mark(origin, dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks[origin] = dir
}

// Stack is what the container's root file system is made of: its own layer and its image's, between the marks of its front and the places that
// its mounts cover.
func (m *Manager) Stack(ctx context.Context, r *Record) (layer.Mount, error) {
	l, err := m.set.Layers.Mounts(ctx, r.ID)
	if err != nil {
		return layer.Mount{}, err
	}
	m.mu.RLock()
	marks := m.marks[r.Config.Origin]
	m.mu.RUnlock()
	lower := make([]string, 0, len(l.Lower)+2)
	if marks != "" {
		lower = append(lower, marks)
	}
	l.Lower = append(append(lower, l.Lower...), m.set.Layers.Targets())
	return l, nil
}

// mount shows the container's layers at its root file system's place.
func (m *Manager) mount(ctx context.Context, r *Record, userns string) error {
	id := r.ID
	l, err := m.Stack(ctx, r)
	if err != nil {
		return err
	}
	if err := kernel.Unmount(m.rootfs(id)); err != nil { // of a run that a crash cut off
		return err
	}
	if err := os.MkdirAll(m.rootfs(id), 0o700); err != nil {
		return err
	}
	l.UserNS = userns
	return l.Attach(m.rootfs(id))
}

// prepare makes what must exist before the container runs: sources of binds, the working directory, the image's volumes.
func (m *Manager) prepare(r *Record, root int, img spec.Image) error {
	for _, mnt := range r.Config.Mounts {
		if mnt.Type != "" && mnt.Type != "bind" || !mnt.MakeSource {
			continue
		}
		if _, err := os.Stat(mnt.Source); errors.Is(err, os.ErrNotExist) {
			if err := r.makeSource(mnt); err != nil {
				return fmt.Errorf("make source of mount %s: %w", mnt.Target, err)
			}
		}
	}
	if dir := cmp.Or(r.Config.Process.Dir, img.Dir); dir != "" && dir != "/" {
		fd, err := r.Owners.Root().MkdirInRoot(root, dir, 0o755)
		if err != nil {
			return fmt.Errorf("make working directory: %w", err)
		}
		unix.Close(fd)
	}
	return nil
}

// input gathers what the specification is made of.
func (m *Manager) input(r *Record, place sandbox.Place, img spec.Image) spec.Input {
	return spec.Input{
		ID: r.ID, Process: r.Config.Process, Security: r.Config.Security, Mounts: r.Config.Mounts, Devices: r.Config.Devices,
		Resources: r.Config.Resources, Namespaces: place.Namespaces, Image: img, Resolved: r.User,
		Rootfs: m.rootfs(r.ID), Hostname: place.Hostname, Sysctls: r.Config.Sysctls,
		CgroupPath: filepath.Join("/", place.Cgroup, r.ID),
		ResolvConf: place.ResolvConf, Hosts: place.Hosts, HostnameFile: place.HostnameFile, ShmDir: place.ShmDir, ShmSize: place.ShmSize,
		Annotations: r.Config.Annotations, Init: m.set.Init, Host: m.set.Host,
	}
}

// Stop asks the container to end, waits for timeout, then kills it, and returns when it has ended. Stopping what does not run does nothing.
func (m *Manager) Stop(ctx context.Context, id string, timeout time.Duration) error {
	e, err := m.entry(id)
	if err != nil {
		return err
	}
	r, gone := m.current(e)
	if gone == nil {
		// A start under way holds op: wait for what becomes of it.
		e.op.Lock()
		r, gone = m.current(e)
		e.op.Unlock()
		if gone == nil {
			return nil
		}
	}
	sig := syscall.SIGTERM
	name := r.Config.StopSignal
	if name == "" {
		if img, err := m.inherited(r); err == nil {
			name = img.StopSignal
		}
	}
	if name != "" {
		if sig, err = ParseSignal(name); err != nil {
			return err
		}
	}
	if r.State == Paused {
		if err := m.Resume(ctx, id); err != nil {
			return err
		}
	}
	if timeout > 0 {
		if err := m.signalled(ctx, e, r, sig, false); err != nil {
			return err
		}
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-gone:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	if err := m.signalled(ctx, e, r, syscall.SIGKILL, true); err != nil {
		return err
	}
	// The end is told by an event. One that never comes, because the monitor does not know the container any more or has told it already, must not
	// leave the record running for ever.
	if st, known, err := m.ask(ctx, id); err == nil && (!known || st.Status == monitor.Stopped) {
		if err := m.settle(ctx, e); err != nil {
			return err
		}
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop container %s: it did not end: %w", id[:12], ctx.Err())
	}
}

// signal sends a signal; a container that has ended meanwhile is fine.
func (m *Manager) signal(ctx context.Context, r *Record, sig syscall.Signal, all bool) error {
	err := m.set.Runtime.Kill(ctx, r.ID, sig, all)
	if err == nil || errors.Is(err, monitor.ErrNotFound) || errors.Is(err, monitor.ErrState) {
		return nil
	}
	return fmt.Errorf("signal container %s: %w", r.ID[:12], err)
}

// Kill sends a signal to a running container's first process.
func (m *Manager) Kill(ctx context.Context, id string, sig syscall.Signal) error {
	e, err := m.entry(id)
	if err != nil {
		return err
	}
	r, gone := m.current(e)
	if gone == nil {
		return fmt.Errorf("kill container %s: it is not running: %w", id[:12], ErrState)
	}
	return m.signalled(ctx, e, r, sig, false)
}

// signalled sends a signal and tells of it, before the end that it may bring is told.
func (m *Manager) signalled(ctx context.Context, e *entry, r *Record, sig syscall.Signal, all bool) error {
	e.op.Lock()
	defer e.op.Unlock()
	if err := m.signal(ctx, r, sig, all); err != nil {
		return err
	}
	m.set.Events.Publish(events.Event{Kind: events.Container, Action: events.Kill, ID: r.ID, Sandbox: r.Config.Sandbox, Attrs: map[string]string{"signal": strconv.Itoa(int(sig))}})
	return nil
}

// Wait returns the record when the container is not running (any more).
func (m *Manager) Wait(ctx context.Context, id string) (*Record, error) {
	e, err := m.entry(id)
	if err != nil {
		return nil, err
	}
	r, gone := m.current(e)
	if gone == nil {
		return r, nil
	}
	select {
	case <-gone:
		r, _ = m.current(e)
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Pause freezes a running container, Resume thaws it.
func (m *Manager) Pause(ctx context.Context, id string) error {
	return m.freeze(ctx, id, Running, Paused, m.set.Runtime.Pause, events.Pause)
}

// Resume thaws a paused container.
func (m *Manager) Resume(ctx context.Context, id string) error {
	return m.freeze(ctx, id, Paused, Running, m.set.Runtime.Resume, events.Unpause)
}

func (m *Manager) freeze(ctx context.Context, id string, from, to State, do func(context.Context, string) error, what events.Action) error {
	e, err := m.turn(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	old, _ := m.current(e)
	if old.State != from {
		return fmt.Errorf("%s container %s: it is %s: %w", what, id[:12], old.State, ErrState)
	}
	if err := do(ctx, id); err != nil {
		return fmt.Errorf("%s container %s: %w", what, id[:12], err)
	}
	r := *old
	r.State = to
	if err := m.put(e, &r); err != nil {
		return err
	}
	m.publish(&r, what)
	return nil
}

// Limit changes a container's limits, now if it runs, else from its next start. Limits that are nil stay.
func (m *Manager) Limit(ctx context.Context, id string, limits spec.Resources) error {
	e, err := m.turn(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	old, _ := m.current(e)
	if old.State == Running || old.State == Paused {
		change, err := limits.Over(old.Config.Resources).ToLinux()
		if err == nil {
			err = m.set.Runtime.Update(ctx, id, change)
		}
		if err != nil {
			return fmt.Errorf("update limits of container %s: %w", id[:12], err)
		}
	}
	r := *old
	r.Config.Resources = r.Config.Resources.With(limits)
	if err := m.commit(e, &r); err != nil {
		return err
	}
	m.publish(&r, events.Update)
	return nil
}
