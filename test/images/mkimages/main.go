// Command mkimages makes the test images and writes or pushes them. See package images.
//
//	mkimages -push http://127.0.0.1:5001              all images to a registry, paths as upstream's
//	mkimages -out DIR [NAME…]                         one archive for docker load, ctr and podman: DIR/images.tar, and an OCI layout: DIR/layout
//	mkimages -serve 127.0.0.1:5000 -data DIR          a registry with all images, until it is ended
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"nau/internal/engine/content"
	"nau/internal/registry"
	"nau/test/images"
)

func main() {
	out := flag.String("out", "", "directory to write an archive and a layout to")
	push := flag.String("push", "", "URL of a registry to push to")
	serve := flag.String("serve", "", "address to serve a registry with the images on")
	data := flag.String("data", "", "data directory of that registry")
	big := flag.Bool("big", false, "make the 205 MB image too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out, *push, *serve, *data, *big, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mkimages:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, push, serve, data string, big bool, names []string) error {
	if out == "" && push == "" && serve == "" {
		return errors.New("nothing to do: give -out, -push or -serve")
	}
	set, err := images.Build(ctx, images.Options{Big: big})
	if err != nil {
		return err
	}
	list, err := set.Find(names...)
	if err != nil {
		return err
	}
	if out != "" {
		if err := write(set, out, list); err != nil {
			return err
		}
	}
	if push != "" {
		if err := set.Push(ctx, push, list); err != nil {
			return err
		}
	}
	if serve != "" {
		return serveRegistry(ctx, set, serve, data, list)
	}
	return nil
}

func write(set *images.Set, out string, list []images.Image) error {
	if err := set.WriteLayout(filepath.Join(out, "layout"), list); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(out, "images.tar"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := set.WriteArchive(f, list); err != nil {
		return err
	}
	return f.Close()
}

func serveRegistry(ctx context.Context, set *images.Set, address, data string, list []images.Image) error {
	if data == "" {
		return errors.New("-serve needs -data")
	}
	c, err := content.Open(data, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	g, err := registry.New(registry.Config{Content: c, Deletes: true})
	if err != nil {
		return err
	}
	defer g.Close()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: g, ReadHeaderTimeout: 30 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	if err := set.Push(ctx, "http://"+l.Addr().String(), list); err != nil {
		return err
	}
	fmt.Println("ready", l.Addr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return s.Close()
	}
}
