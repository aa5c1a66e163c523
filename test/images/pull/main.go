// Command pull brings one image into a data directory with the engine's own stores, and says how long it took. The pull benchmark runs it
// beside other engines; it is no part of the program.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"nau/internal/engine/content"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
)

func main() {
	dir := flag.String("dir", "", "data directory")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	remove := flag.Bool("rm", false, "remove the image afterwards")
	times := flag.Int("n", 1, "pull and remove this many times in one process")
	verbose := flag.Bool("v", false, "print progress")
	flag.Parse()
	if err := run(*dir, flag.Arg(0), *profile, *remove, *times, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "pull:", err)
		os.Exit(1)
	}
}

func run(dir, ref, profile string, remove bool, times int, verbose bool) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	c, err := content.Open(filepath.Join(dir, "content"), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := layer.Open(layer.Config{Dir: filepath.Join(dir, "layers")})
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := image.Open(image.Config{DB: filepath.Join(dir, "images.db"), Content: c, Layers: l})
	if err != nil {
		return err
	}
	defer s.Close()
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	opts := image.PullOptions{}
	if verbose {
		opts.Progress = func(e image.Event) { fmt.Println(e.ID, e.Status, e.Current, e.Total) }
	}
	for i := range times {
		start := time.Now()
		img, err := s.Pull(context.Background(), ref, opts)
		if err != nil {
			return err
		}
		fmt.Printf("%s %d bytes in %d layers: %v\n", img.ID, img.Size, len(img.DiffIDs), time.Since(start).Round(time.Millisecond))
		if remove || i < times-1 {
			start = time.Now()
			if _, err := s.Remove(context.Background(), ref, image.RemoveOptions{}); err != nil {
				return err
			}
			fmt.Printf("removed: %v\n", time.Since(start).Round(time.Millisecond))
		}
	}
	return nil
}
