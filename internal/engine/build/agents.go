package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Listen makes a socket as a step wants it and gives every connection to talk, until stop. talk ends when its context does.
func Listen(ctx context.Context, at Socket, talk func(context.Context, net.Conn)) (stop func() error, err error) {
	l, err := net.Listen("unix", at.Path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chown(at.Path, at.UID, at.GID), os.Chmod(at.Path, at.Mode)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			ended.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				talk(ctx, conn)
			})
		}
	})
	return func() error {
		cancel()
		err := l.Close()
		ended.Wait()
		return err
	}, nil
}

// Agents makes a request's Agent of the sockets of agents on this machine, by ID.
func Agents(sockets map[string]string) func(context.Context, string, Socket) (func() error, error) {
	return func(ctx context.Context, id string, at Socket) (func() error, error) {
		socket, ok := sockets[id]
		if !ok {
			return nil, ErrNotGiven
		}
		return Listen(ctx, at, func(ctx context.Context, conn net.Conn) {
			out, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
			if err != nil {
				return // the step sees its connection end
			}
			defer out.Close()
			stop := context.AfterFunc(ctx, func() { out.Close() })
			defer stop()
			back := make(chan struct{})
			go func() {
				defer close(back)
				_, _ = io.Copy(conn, out)
				conn.Close()
			}()
			_, _ = io.Copy(out, conn)
			out.Close()
			<-back
		})
	}
}

// Keys serves an agent of private keys in files at a socket of its own below dir.
func Keys(ctx context.Context, dir string, files []string) (socket string, stop func() error, err error) {
	ring := agent.NewKeyring()
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", nil, fmt.Errorf("read SSH key: %w", err)
		}
		key, err := ssh.ParseRawPrivateKey(b)
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			return "", nil, fmt.Errorf("read SSH key %s: %w: add it to an agent, and pass the agent", name, err)
		} else if err != nil {
			return "", nil, fmt.Errorf("read SSH key %s: %w", name, err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: filepath.Base(name)}); err != nil {
			return "", nil, fmt.Errorf("read SSH key %s: %w", name, err)
		}
	}
	at := Socket{Path: filepath.Join(dir, "agent"), UID: os.Getuid(), GID: os.Getgid(), Mode: 0o600}
	stop, err = Listen(ctx, at, func(_ context.Context, conn net.Conn) { _ = agent.ServeAgent(readOnly{ring}, conn) })
	if err != nil {
		return "", nil, fmt.Errorf("serve SSH keys: %w", err)
	}
	return at.Path, stop, nil
}

// readOnly is an agent that lists and signs, and whose keys no build changes.
type readOnly struct{ agent.Agent }

var errReadOnly = errors.New("the keys of a build cannot be changed")

func (readOnly) Add(agent.AddedKey) error   { return errReadOnly }
func (readOnly) Remove(ssh.PublicKey) error { return errReadOnly }
func (readOnly) RemoveAll() error           { return errReadOnly }
func (readOnly) Lock([]byte) error          { return errReadOnly }
func (readOnly) Unlock([]byte) error        { return errReadOnly }
