package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nau/internal/registry/standalone"
)

func newRegistry() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Serve images to others, without a cluster",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRegistryServe(), newRegistryCollect())
	return cmd
}

func newRegistryServe() *cobra.Command {
	c := standalone.Config{Addr: "127.0.0.1:5000", DataDir: "/var/lib/nau-registry", Realm: "", Service: "nau-registry", Issuer: "nau-registry", GCInterval: 24 * time.Hour, Grace: time.Hour}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run an OCI registry until it is interrupted",
		Long: `Serves OCI distribution 1.1: pull, push, chunked and cross-mounted uploads, deletes,
tags, referrers, and docker search. It needs no root beyond its data directory.

By plain HTTP it is for this machine; others need TLS: --tls-cert and --tls-key, or
--tls-self, whose certificate clients put where they look for registries' CAs
(/etc/docker/certs.d/HOST:PORT/ca.crt).`,
		Example: `  nau registry serve --addr :5000 --tls-self --auth basic --htpasswd users
  nau registry serve --mirror-of https://registry-1.docker.io`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&c.Addr, "addr", c.Addr, "address to listen on")
	f.StringVar(&c.DataDir, "data-dir", c.DataDir, "where blobs, repositories and keys are kept")
	f.StringVar(&c.TLSCert, "tls-cert", "", "certificate chain in PEM; read again when it changes")
	f.StringVar(&c.TLSKey, "tls-key", "", "its key")
	f.BoolVar(&c.TLSSelf, "tls-self", false, "make a certificate, kept in DATA-DIR/tls")
	f.StringVar(&c.Auth, "auth", "none", "none, basic or token")
	f.StringVar(&c.Users, "htpasswd", "", "users and their passwords, a file as `htpasswd -B` writes it")
	f.BoolVar(&c.OpenReads, "anonymous-pull", false, "everybody may pull; users may push and delete")
	f.StringVar(&c.Realm, "realm", "", "basic: what users are shown; token: URL of a token server elsewhere (default this one)")
	f.StringVar(&c.Service, "token-service", c.Service, "service that tokens are for")
	f.StringVar(&c.Issuer, "token-issuer", c.Issuer, "issuer that tokens have to come from")
	f.StringVar(&c.TokenCert, "token-cert", "", "certificate or public key of the token server elsewhere")
	f.StringVar(&c.MirrorOf, "mirror-of", "", "URL of a registry that is asked for what is not here; the mirror itself is read-only")
	f.StringVar(&c.MirrorUser, "mirror-user", "", "USER:PASSWORD at that registry")
	f.BoolVar(&c.ReadOnly, "read-only", false, "refuse pushes and deletes")
	f.DurationVar(&c.GCInterval, "gc-interval", c.GCInterval, "how often unneeded blobs are freed; 0 for `nau registry collect` alone")
	f.DurationVar(&c.Grace, "gc-grace", c.Grace, "how long a blob is kept that no manifest names yet")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		s, err := standalone.Start(c)
		if err != nil {
			return registryError(err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "registry at %s, kept in %s\n", s.URL(), c.DataDir)
		if c.TLSSelf {
			fmt.Fprintf(cmd.OutOrStdout(), "clients trust it with %s\n", standalone.SelfCert(c.DataDir))
		}
		return s.Run(cmd.Context())
	}
	return cmd
}

func newRegistryCollect() *cobra.Command {
	c := standalone.Config{DataDir: "/var/lib/nau-registry", Grace: time.Hour}
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Free what no manifest of a registry needs, beside running uploads",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&c.DataDir, "data-dir", c.DataDir, "the registry's")
	cmd.Flags().DurationVar(&c.Grace, "gc-grace", c.Grace, "how long a blob is kept that no manifest names yet; a running registry has its own")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := os.Stat(c.DataDir); err != nil {
			return fmt.Errorf("%w: --data-dir: %w", errFlags, err)
		}
		n, err := standalone.Collect(cmd.Context(), c)
		if err != nil {
			return registryError(err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "freed %d bytes\n", n)
		return nil
	}
	return cmd
}

// registryError marks what the caller got wrong.
func registryError(err error) error {
	if errors.Is(err, standalone.ErrConfig) {
		return fmt.Errorf("%w: %s", errFlags, strings.TrimPrefix(err.Error(), standalone.ErrConfig.Error()+": "))
	}
	return err
}
