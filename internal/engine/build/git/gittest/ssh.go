package gittest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Key makes a private key.
func Key(t testing.TB) (ed25519.PrivateKey, ssh.Signer) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return private, signer
}

// ServeSSH serves repositories by path to the user git with one key, until the listener closes.
func ServeSSH(t testing.TB, l net.Listener, host ssh.Signer, allowed ssh.PublicKey, repos map[string]*Repo) {
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || !bytes.Equal(key.Marshal(), allowed.Marshal()) {
			return nil, errors.New("not allowed")
		}
		return nil, nil
	}}
	cfg.AddHostKey(host)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if err := serveSSH(conn, cfg, repos); err != nil {
					t.Log("SSH server:", err)
				}
			}()
		}
	}()
}

func serveSSH(conn net.Conn, cfg *ssh.ServerConfig, repos map[string]*Repo) error {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return err
	}
	go ssh.DiscardRequests(requests)
	for next := range channels {
		ch, asked, err := next.Accept()
		if err != nil {
			return err
		}
		for req := range asked {
			var command struct{ Text string }
			if err := ssh.Unmarshal(req.Payload, &command); err != nil || req.Type != "exec" {
				_ = req.Reply(false, nil)
				continue
			}
			name, _ := strings.CutPrefix(command.Text, "git-upload-pack '/")
			r := repos[strings.TrimSuffix(name, "'")]
			if err := req.Reply(true, nil); err != nil {
				return err
			}
			if r == nil {
				fmt.Fprintf(ch.Stderr(), "no repository: %s\n", command.Text)
			} else if err := errors.Join(r.advertise(ch), r.upload(ch, ch)); err != nil {
				return err
			}
			if err := ch.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}
