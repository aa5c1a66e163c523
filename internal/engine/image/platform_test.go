package image

import "testing"

func TestReadPlatform(t *testing.T) {
	host := FormatPlatform(HostPlatform())
	for text, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7", "arm/v6": "linux/arm/v6", "aarch64": "linux/arm64", "x86_64": "linux/amd64",
		"linux": host, "Linux/AMD64": "linux/amd64", "windows/amd64": "windows/amd64", "other/some": "other/some", "linux/test/1": "linux/test/1",
		"foobar": "", "linux/amd64/v1/more": "", "": "", "linux/": "", "linux/a b": "", "linux//v7": "",
	} {
		p, err := ReadPlatform(text)
		if got := FormatPlatform(p); err == nil && got != want || err != nil && want != "" {
			t.Errorf("%q is %s (%v), want %s", text, got, err, want)
		}
	}
}
