// Command httpd is what the test images run: one small static program that is a web server when called nginx or app, and a client when called
// wget, curl or nslookup (the shell in the images is statically linked and cannot resolve names).
//
// As nginx it takes nginx's own command line and as much of its configuration as the examples use: listen, root, index, location, return. It is
// no web server for anything but tests.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	name := filepath.Base(os.Args[0])
	calls := map[string]func([]string) error{"nginx": nginx, "httpd": nginx, "app": app, "wget": wget, "curl": curl, "nslookup": nslookup}
	f, ok := calls[name]
	if !ok {
		f = nginx
	}
	if err := f(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
