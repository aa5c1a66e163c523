package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"nau/internal/cluster"
	"nau/internal/engine/build"
)

func newBuild() *cobra.Command {
	config := cluster.Default()
	var file, target, platform, network string
	var tags, args, labels, secrets, agents []string
	var noCache, pull, quiet, squash bool
	cmd := &cobra.Command{
		Use:   "build FOLDER|ADDRESS",
		Short: "Build an image from a Dockerfile",
		Long: `Build makes an image from the Dockerfile in FOLDER, or in a repository or archive at ADDRESS. Pods can use it at once, no push needed:

  sudo nau build -t app:v1 .
  sudo nau build -t app:v1 https://example.com/app.git#v1:docker
  kubectl run app --image app:v1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("build takes one FOLDER or ADDRESS; `.` is the folder you are in")
			}
			return nil
		},
	}
	placeFlags(cmd, &config)
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "", "the Dockerfile, a path in FOLDER (default Dockerfile)")
	f.StringArrayVarP(&tags, "tag", "t", nil, "name of the image; may be given several times")
	f.StringArrayVar(&args, "build-arg", nil, "NAME=VALUE of an ARG; NAME alone takes the environment's")
	f.StringArrayVar(&labels, "label", nil, "KEY=VALUE put on the image")
	f.StringArrayVar(&secrets, "secret", nil, "id=ID,src=FILE or id=ID,env=NAME for RUN --mount=type=secret")
	f.StringArrayVar(&agents, "ssh", nil, "ID or ID=SOCKET of an SSH agent, or ID=KEY[,KEY] of private keys, for RUN --mount=type=ssh and git addresses by SSH (default is $SSH_AUTH_SOCK)")
	f.StringVar(&target, "target", "", "stage to build (default the last)")
	f.StringVar(&platform, "platform", "", "platform of the image (default this machine's)")
	f.StringVar(&network, "network", "", "network of RUN: default, none, host or a network's name")
	f.BoolVar(&noCache, "no-cache", false, "run every step")
	f.BoolVar(&pull, "pull", false, "ask registries for newer base images")
	f.BoolVar(&squash, "squash", false, "merge the layers over the base image into one")
	f.BoolVarP(&quiet, "quiet", "q", false, "print the image's ID only")
	cmd.RunE = func(cmd *cobra.Command, where []string) error {
		if err := config.Complete(); err != nil {
			return err
		}
		q := url.Values{"dockerfile": {file}, "target": {target}, "platform": {platform}, "networkmode": {network}, "t": tags}
		for name, on := range map[string]bool{"nocache": noCache, "pull": pull, "q": quiet, "squash": squash} {
			if on {
				q.Set(name, "1")
			}
		}
		q.Set("buildargs", asJSON(pairsOf(args, os.LookupEnv)))
		q.Set("labels", asJSON(pairsOf(labels, func(string) (string, bool) { return "", true })))
		hidden, err := readSecrets(secrets)
		if err != nil {
			return err
		}
		sockets, stop, err := openAgents(cmd.Context(), agents)
		if err != nil {
			return err
		}
		defer stop()
		headers := map[string]any{"X-Build-Own": map[string]bool{"needed": true, "squash": true}}
		if len(hidden) > 0 {
			headers["X-Build-Secrets"] = hidden
		}
		if len(sockets) > 0 {
			headers["X-Build-Agents"] = sockets
		}
		return requestBuild(cmd.Context(), filepath.Join(config.RunDir, "docker.sock"), q, headers, where[0], file, cmd.OutOrStdout())
	}
	return cmd
}

// pairsOf reads NAME=VALUE; otherwise answers for a NAME alone.
func pairsOf(list []string, otherwise func(string) (string, bool)) map[string]string {
	out := map[string]string{}
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			value, ok = otherwise(name)
		}
		if ok {
			out[name] = value
		}
	}
	return out
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// readSecrets reads what --secret names.
func readSecrets(list []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, text := range list {
		fields := map[string]string{}
		for part := range strings.SplitSeq(text, ",") {
			k, v, _ := strings.Cut(part, "=")
			fields[k] = v
		}
		id, src, env := fields["id"], fields["src"]+fields["source"], fields["env"]
		if id == "" {
			return nil, flagError("--secret", text, "id=ID,src=FILE or id=ID,env=NAME")
		}
		if src == "" {
			value, ok := os.LookupEnv(cmp.Or(env, id))
			if !ok {
				return nil, flagError("--secret", text, "id=ID,src=FILE or id=ID,env=NAME")
			}
			out[id] = []byte(value)
			continue
		}
		b, err := os.ReadFile(src)
		if err != nil {
			return nil, fmt.Errorf("read secret %s: %w", id, err)
		}
		out[id] = b
	}
	return out, nil
}

// openAgents finds the agents that --ssh names, and serves the keys that it names. stop ends that.
func openAgents(ctx context.Context, list []string) (sockets map[string]string, stop func(), err error) {
	sockets = map[string]string{}
	var undo []func()
	stop = func() {
		for _, f := range undo {
			f()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	for _, text := range list {
		const form = "ID, ID=SOCKET or ID=KEY[,KEY]; without a socket or key SSH_AUTH_SOCK must be set"
		id, where, _ := strings.Cut(text, "=")
		if where = cmp.Or(where, os.Getenv("SSH_AUTH_SOCK")); id == "" || where == "" || sockets[id] != "" {
			return nil, stop, flagError("--ssh", text, form)
		}
		st, err := os.Stat(where)
		if err == nil && st.Mode()&os.ModeSocket != 0 {
			if sockets[id], err = filepath.Abs(where); err != nil {
				return nil, stop, err
			}
			continue
		}
		dir, err := os.MkdirTemp("", "nau-ssh-")
		if err != nil {
			return nil, stop, err
		}
		undo = append(undo, func() { os.RemoveAll(dir) })
		socket, end, err := build.Keys(ctx, dir, strings.Split(where, ","))
		if err != nil {
			return nil, stop, fmt.Errorf("--ssh %s: %w", text, err)
		}
		undo = append(undo, func() { _ = end() })
		sockets[id] = socket
	}
	return sockets, stop, nil
}

// requestBuild sends the context to the engine and prints what it answers.
func requestBuild(ctx context.Context, socket string, q url.Values, headers map[string]any, folder, file string, out io.Writer) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	pr, pw := io.Pipe()
	packed := make(chan error, 1)
	if build.IsRemote(folder) {
		q.Set("remote", folder)
		packed <- pw.Close()
	} else {
		go func() {
			err := build.Archive(ctx, pw, folder, file)
			packed <- err
			pw.CloseWithError(err)
		}()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://nau/build?"+q.Encode(), pr)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-tar")
	for name, value := range headers {
		req.Header.Set(name, base64.StdEncoding.EncodeToString([]byte(asJSON(value))))
	}
	res, err := client.Do(req)
	if err != nil {
		select {
		case perr := <-packed:
			if perr != nil {
				return perr
			}
		default:
		}
		return fmt.Errorf("reach Nau at %s: %w; `nau up -d` starts it", socket, err)
	}
	defer res.Body.Close()
	type document struct{ Stream, Status, ID, Error, Message string }
	for dec := json.NewDecoder(res.Body); ; {
		var d document
		if err := dec.Decode(&d); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("read answer of Nau: %w", err)
		}
		switch {
		case d.Error != "" || d.Message != "":
			return errors.New(cmp.Or(d.Error, d.Message))
		case d.Stream != "":
			fmt.Fprint(out, d.Stream)
		case d.Status != "" && d.ID == "":
			fmt.Fprintln(out, d.Status)
		}
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("build: Nau answers %s", res.Status)
	}
	return nil
}
