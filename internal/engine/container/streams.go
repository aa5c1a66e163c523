package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/engine/record"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
	"nau/internal/oci/monitor"
)

// drain is how long output is still read after a process has ended while others hold its streams open.
const drain = time.Second

// patience is how long the monitor is given to begin a process.
const patience = time.Minute

// Exec runs a process in a running container, copies its streams and returns its exit code. When ctx ends first, the process is killed.
func (m *Manager) Exec(ctx context.Context, id string, c ExecConfig) (code int, err error) {
	r, err := m.Get(id)
	if err != nil {
		return 0, err
	}
	if r.State != Running || r.Process == nil {
		return 0, fmt.Errorf("exec in container %s: it is %s: %w", id[:12], r.State, ErrState)
	}
	p, err := m.execProcess(r, c)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id[:12], err)
	}
	execID := cmp.Or(c.ID, record.NewID())
	req := monitor.ExecRequest{ID: id, ExecID: execID, Process: p, Terminal: c.Terminal, Size: [2]uint16{c.Size.Width, c.Size.Height}}
	pipes := &pipes{}
	defer pipes.close()
	// Assigned only when there is one: a nil *os.File in an interface is not nil.
	if f, err := pipes.in(c.Stdin); err != nil {
		return 0, err
	} else if f != nil {
		req.Stdin = f
	}
	if f, err := pipes.out(c.Stdout); err != nil {
		return 0, err
	} else if f != nil {
		req.Stdout = f
	}
	if !c.Terminal {
		if f, err := pipes.out(c.Stderr); err != nil {
			return 0, err
		} else if f != nil {
			req.Stderr = f
		}
	}
	// A request that is cut off would leave a process of which nobody knows: it is heard out, and what it began is ended below.
	begin, done := context.WithTimeout(context.WithoutCancel(ctx), patience)
	pid, err := m.set.Runtime.Exec(begin, req)
	done()
	pipes.handedOver()
	if err != nil {
		return 0, err // it names the container and what was done
	}
	if c.Started != nil {
		c.Started(pid)
	}
	pipes.start()
	ended := make(chan struct{})
	defer close(ended)
	go resize(c.Resize, ended, func(s Size) { _ = m.set.Runtime.ResizeExec(ctx, id, execID, s.Width, s.Height) })
	st, err := m.set.Runtime.WaitExec(ctx, id, execID)
	if err != nil {
		if ctx.Err() != nil {
			_ = m.set.Runtime.KillExec(context.WithoutCancel(ctx), id, execID, syscall.SIGKILL)
			err = ctx.Err()
		}
		return 0, fmt.Errorf("exec in container %s: %w", id[:12], err)
	}
	pipes.finish()
	return st.Code, nil
}

// execProcess derives the exec's process from the container's.
func (m *Manager) execProcess(r *Record, c ExecConfig) (*specs.Process, error) {
	if len(c.Args) == 0 {
		return nil, spec.ErrNoCommand
	}
	p := *r.Process
	p.Args, p.Terminal = c.Args, c.Terminal
	p.OOMScoreAdj = nil
	var more []string
	if !spec.Names(r.Config.Process.Env, "TERM") && !m.imageNames(r, "TERM") { // the container's is its own terminal's
		p.Env = slices.DeleteFunc(slices.Clone(p.Env), func(kv string) bool { return strings.HasPrefix(kv, "TERM=") })
		if c.Terminal {
			more = append(more, "TERM=xterm")
		}
	}
	if c.Dir != "" {
		p.Cwd = c.Dir
	}
	home := cmp.Or(r.User.Home, "/")
	if c.User != "" {
		root, err := kernel.OpenPath(m.rootfs(r.ID))
		if err != nil {
			return nil, err
		}
		defer unix.Close(root)
		u, err := spec.LookupUser(root, spec.User{Name: c.User, GroupAlone: true}, "")
		if err != nil {
			return nil, err
		}
		p.User = specs.User{UID: u.UID, GID: u.GID, AdditionalGids: u.SupplementaryGroups(), Umask: p.User.Umask}
		home = cmp.Or(u.Home, "/")
		if !spec.Names(r.Config.Process.Env, "HOME") && !m.imageNames(r, "HOME") { // the container's is its own user's
			more = append(more, "HOME="+u.Home)
		}
	}
	p.Env = spec.HomeEnv(spec.OverlayEnv(p.Env, append(more, c.Env...)), home)
	if c.Privileged {
		caps, err := spec.Capabilities(spec.Security{Privileged: true}, m.set.Host.Capabilities)
		if err != nil {
			return nil, err
		}
		p.Capabilities = caps
	}
	return &p, nil
}

// imageNames reports whether the container's image sets a variable.
func (m *Manager) imageNames(r *Record, variable string) bool {
	img, err := m.inherited(r)
	return err == nil && spec.Names(img.Env, variable)
}

// VetExec reports what would keep an exec from being started at all, such as a user that is not there.
func (m *Manager) VetExec(id string, c ExecConfig) error {
	r, err := m.Get(id)
	if err != nil {
		return err
	}
	if r.State != Running || r.Process == nil {
		return fmt.Errorf("exec in container %s: it is %s: %w", id[:12], r.State, ErrState)
	}
	if _, err := m.execProcess(r, c); err != nil {
		return fmt.Errorf("exec in container %s: %w", id[:12], err)
	}
	return nil
}

// Attach joins a running container's streams until it ends, the output ends, or ctx ends.
func (m *Manager) Attach(ctx context.Context, id string, s Streams) error {
	r, err := m.Get(id)
	if err != nil {
		return err
	}
	if r.State != Running && r.State != Paused {
		return fmt.Errorf("attach to container %s: it is %s: %w", id[:12], r.State, ErrState)
	}
	st, err := m.set.Runtime.Attach(ctx, id, s.wanted(r))
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id[:12], err)
	}
	return m.converse(ctx, id, st, s, nil)
}

// wanted says which of a container's streams s needs. One output is always among them: its end is the end of the conversation.
func (s Streams) wanted(r *Record) monitor.AttachOptions {
	o := monitor.AttachOptions{Stdin: s.Stdin != nil && r.Config.OpenStdin, Stdout: s.Stdout != nil, Stderr: s.Stderr != nil && !r.Config.Process.Terminal}
	o.Stdout = o.Stdout || !o.Stderr
	return o
}

// converse copies between the monitor's ends and the caller's until the container ends, the output ends, or ctx ends; for a caller that takes no
// output, until what it gives has ended.
func (m *Manager) converse(ctx context.Context, id string, st *monitor.AttachStreams, s Streams, gone <-chan struct{}) error {
	var once sync.Once
	closeAll := func() { once.Do(func() { _ = st.Close() }) }
	defer closeAll()
	stop := context.AfterFunc(ctx, closeAll)
	defer stop()
	ended := make(chan struct{})
	defer close(ended)
	go resize(s.Resize, ended, func(z Size) { _ = m.set.Runtime.Resize(ctx, id, z.Width, z.Height) })

	in := make(chan struct{})
	if st.Stdin != nil {
		go func() {
			defer close(in)
			_, _ = io.Copy(st.Stdin, s.Stdin)
			_ = st.Stdin.Close()
		}()
	}
	var out sync.WaitGroup
	for _, o := range []struct {
		from *os.File
		to   io.Writer
	}{{st.Stdout, s.Stdout}, {st.Stderr, s.Stderr}} {
		if o.to == nil {
			o.to = io.Discard
		}
		if o.from != nil {
			out.Go(func() { _, _ = io.Copy(o.to, o.from) })
		}
	}
	fed := true // may somebody still type
	if st.Stdin != nil && s.Stdout == nil && s.Stderr == nil {
		over := make(chan struct{})
		go func() { out.Wait(); close(over) }()
		select {
		case <-in:
			fed = false
			closeAll()
		case <-over:
		}
	}
	out.Wait()
	if gone != nil && fed {
		select {
		case <-gone:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// resize passes terminal sizes on until the process has ended.
func resize(sizes <-chan Size, ended <-chan struct{}, do func(Size)) {
	if sizes == nil {
		return
	}
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			if s.Width > 0 && s.Height > 0 {
				do(s)
			}
		case <-ended:
			return
		}
	}
}

// pipes connect a process's descriptors with the caller's streams.
type pipes struct {
	theirs []*os.File // passed to the monitor
	ours   []*os.File
	copies []func()
	out_   []*os.File // ours that are read
	done   sync.WaitGroup
}

func (p *pipes) in(r io.Reader) (*os.File, error) {
	if r == nil {
		return nil, nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	p.theirs, p.ours = append(p.theirs, pr), append(p.ours, pw)
	// Not waited for: the caller's reader may block for ever.
	p.copies = append(p.copies, func() {
		_, _ = io.Copy(pw, r)
		_ = pw.Close()
	})
	return pr, nil
}

func (p *pipes) out(w io.Writer) (*os.File, error) {
	if w == nil {
		return nil, nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	p.theirs, p.ours, p.out_ = append(p.theirs, pw), append(p.ours, pr), append(p.out_, pr)
	p.done.Add(1)
	p.copies = append(p.copies, func() {
		defer p.done.Done()
		if _, err := io.Copy(w, pr); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			// The caller does not take it any more: read on, so that the process is not stopped by a full pipe.
			_, _ = io.Copy(io.Discard, pr)
		}
	})
	return pw, nil
}

func (p *pipes) handedOver() {
	for _, f := range p.theirs {
		_ = f.Close()
	}
	p.theirs = nil
}

func (p *pipes) start() {
	for _, c := range p.copies {
		go c()
	}
}

// finish waits for the rest of the output.
func (p *pipes) finish() {
	for _, f := range p.out_ {
		_ = f.SetReadDeadline(time.Now().Add(drain))
	}
	p.done.Wait()
}

func (p *pipes) close() {
	p.handedOver()
	for _, f := range p.ours {
		_ = f.Close()
	}
}
