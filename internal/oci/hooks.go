package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// runHooks runs the hooks of one kind in order, each with the container's state on its standard input. The first that
// fails ends it, but for poststart and poststop: there the others still run (runtime specification, lifecycle), and all
// that failed are reported. Each is a child of the calling thread and lives in its namespaces.
func runHooks(kind string, hooks []specs.Hook, state specs.State) error {
	if len(hooks) == 0 {
		return nil
	}
	body, err := json.Marshal(&state)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	var errs []error
	for i := range hooks {
		if err := runHook(&hooks[i], body); err != nil {
			errs = append(errs, fmt.Errorf("run %s hook %s: %w", kind, hooks[i].Path, err))
			if kind != "poststart" && kind != "poststop" {
				break
			}
		}
	}
	return errors.Join(errs...)
}

func runHook(h *specs.Hook, state []byte) error {
	in, inW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer inW.Close()
	out, outW, err := os.Pipe()
	if err != nil {
		_ = in.Close()
		return err
	}
	defer out.Close()
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	env := h.Env
	if env == nil {
		env = []string{}
	}
	p, err := os.StartProcess(h.Path, args, &os.ProcAttr{Env: env, Files: []*os.File{in, outW, outW}, Dir: "/"})
	_ = in.Close()
	_ = outW.Close()
	if err != nil {
		return err
	}
	go func() {
		_, _ = inW.Write(state) // a hook need not read it
		_ = inW.Close()
	}()
	said := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(out, 4096))
		said <- string(bytes.TrimSpace(b))
		_, _ = io.Copy(io.Discard, out)
	}()
	type result struct {
		state *os.ProcessState
		err   error
	}
	done := make(chan result, 1)
	go func() {
		st, err := p.Wait()
		done <- result{st, err}
	}()
	var expired <-chan time.Time
	if h.Timeout != nil && *h.Timeout > 0 {
		timer := time.NewTimer(time.Duration(*h.Timeout) * time.Second)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case r := <-done:
		if r.err != nil {
			return r.err
		}
		if !r.state.Success() {
			// A hook may have left a process that holds its output: what it said is told if it is at hand.
			text := ""
			select {
			case text = <-said:
			case <-time.After(100 * time.Millisecond):
			}
			return fmt.Errorf("%s %s", r.state, strings.TrimSpace(text))
		}
		return nil
	case <-expired:
		_ = p.Kill()
		<-done
		return fmt.Errorf("not done after %d s", *h.Timeout)
	}
}
