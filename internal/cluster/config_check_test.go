package cluster

import (
	"errors"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(c *Config)
		want string // "" = fine
	}{
		{"defaults", func(*Config) {}, ""},
		{"dotted name", func(c *Config) { c.NodeName = "a.example-1" }, ""},
		{"underscore", func(c *Config) { c.NodeName = "Bad_Name" }, `--node-name "Bad_Name" is not a node's name`},
		{"no name", func(c *Config) { c.NodeName = "" }, `--node-name "" is not`},
		{"domain", func(c *Config) { c.ClusterDomain = "Up.Case" }, `--cluster-domain "Up.Case" is not a DNS domain`},
		{"pods", func(c *Config) { c.MaxPods = -1 }, `--max-pods "-1" is not a number of pods`},
		{"registries", func(c *Config) {
			c.InsecureRegistries = []string{"h", "h:5000", "10.0.0.1:5000", "[fd42::1]:5000", "198.51.100.0/24", "fd42::/64"}
		}, ""},
		{"registry with a scheme", func(c *Config) { c.InsecureRegistries = []string{"http://h"} }, `--insecure-registry "http://h" is not HOST[:PORT] or a range`},
		{"registry with a path", func(c *Config) { c.InsecureRegistries = []string{"h/p"} }, "--insecure-registry"},
		{"registry's port", func(c *Config) { c.InsecureRegistries = []string{"h:99999"} }, "--insecure-registry"},
		{"etcd", func(c *Config) { c.EtcdEndpoints = []string{"https://a:2379", "http://[::1]:2379", "b:2379"} }, ""},
		{"etcd without a port", func(c *Config) { c.EtcdEndpoints = []string{"https://a"} }, `--etcd-endpoints "https://a" is not`},
		{"etcd without sense", func(c *Config) { c.EtcdEndpoints = []string{"nonsense"} }, `--etcd-endpoints "nonsense" is not`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Default()
			config.NodeName = "node-1"
			c.set(&config)
			switch err := config.Check(); {
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrUsage)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
