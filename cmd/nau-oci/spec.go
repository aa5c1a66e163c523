package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"nau/internal/oci"
)

func spec(_ *global, args []string) error {
	f := newFlags("spec")
	var bundle string
	f.StringVar(&bundle, "bundle", ".", "folder to write config.json to")
	f.StringVar(&bundle, "b", ".", "bundle")
	if err := f.Parse(args); err != nil {
		return err
	}
	path := filepath.Join(bundle, "config.json")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spec: %s exists already", path)
	}
	b, err := json.MarshalIndent(oci.ExampleSpec(), "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func features(_ *global, args []string) error {
	if err := newFlags("features").Parse(args); err != nil {
		return err
	}
	return printJSON(oci.Features())
}
