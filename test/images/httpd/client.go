package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

// fetchOptions are what wget and curl have in common here.
type fetchOptions struct {
	url      string
	method   string
	body     string
	header   http.Header
	out      string // "-" = standard output
	timeout  time.Duration
	fail     bool // an error status is an error
	insecure bool
	head     bool // print the header
	follow   bool
	format   string
}

func fetch(o fetchOptions) error {
	if strings.HasPrefix(o.url, "udp://") {
		return askUDP(o)
	}
	if !strings.Contains(o.url, "://") {
		o.url = "http://" + o.url
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, o.method, o.url, strings.NewReader(o.body))
	if err != nil {
		return err
	}
	for k, v := range o.header {
		req.Header[k] = v
	}
	if h := o.header.Get("Host"); h != "" {
		req.Host = h
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: o.insecure}, Proxy: http.ProxyFromEnvironment}}
	if !o.follow {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if o.fail && resp.StatusCode >= 400 {
		return fmt.Errorf("server returned error: HTTP/1.1 %s", resp.Status)
	}
	w := io.Writer(os.Stdout)
	if o.out != "-" {
		f, err := os.Create(o.out)
		if err != nil {
			return err
		}
		defer f.Close()
		w = f
	}
	if o.head {
		fmt.Fprintf(w, "%s %s\r\n", resp.Proto, resp.Status)
		_ = resp.Header.Write(w)
		fmt.Fprint(w, "\r\n")
	}
	_, err = io.Copy(w, resp.Body)
	if o.format != "" {
		fmt.Print(strings.NewReplacer("%{http_code}", fmt.Sprint(resp.StatusCode), `\n`, "\n").Replace(o.format))
	}
	return err
}

func wget(args []string) error {
	o := fetchOptions{method: "GET", header: http.Header{}, timeout: 15 * time.Minute, fail: true, follow: true}
	for i := 0; i < len(args); i++ {
		a := args[i]
		next := func(flag string) string {
			if v := strings.TrimPrefix(a, flag); v != "" && v != a {
				return strings.TrimPrefix(v, "=")
			}
			if i++; i < len(args) {
				return args[i]
			}
			return ""
		}
		switch {
		case a == "--spider":
			o.method, o.out = "HEAD", os.DevNull
		case a == "--no-check-certificate":
			o.insecure = true
		case strings.HasPrefix(a, "--header"):
			addHeader(o.header, next("--header"))
		case strings.HasPrefix(a, "--timeout"):
			o.timeout = seconds(next("--timeout"))
		case strings.HasPrefix(a, "--tries"):
			next("--tries")
		case strings.HasPrefix(a, "--post-data"):
			o.method, o.body = "POST", next("--post-data")
		case strings.HasPrefix(a, "-T"):
			o.timeout = seconds(next("-T"))
		case strings.HasPrefix(a, "-t"):
			next("-t")
		case strings.HasPrefix(a, "-O"):
			o.out = next("-O")
		case strings.HasPrefix(a, "-q") && strings.Contains(a, "O"): // -qO-, -qO FILE
			a = a[strings.Index(a, "O")-1:]
			o.out = next(a[:2])
		case strings.HasPrefix(a, "-"):
		default:
			o.url = a
		}
	}
	if o.url == "" {
		return fmt.Errorf("missing URL")
	}
	if o.out == "" {
		if o.out = path.Base(o.url); strings.HasSuffix(o.url, "/") || !strings.Contains(strings.TrimPrefix(o.url, "http://"), "/") {
			o.out = "index.html"
		}
	}
	return fetch(o)
}

func curl(args []string) error {
	o := fetchOptions{method: "GET", header: http.Header{}, timeout: time.Hour, out: "-"}
	for i := 0; i < len(args); i++ {
		a := args[i]
		value := func() string {
			if i++; i < len(args) {
				return args[i]
			}
			return ""
		}
		long := map[string]byte{"--fail": 'f', "--insecure": 'k', "--location": 'L', "--include": 'i', "--head": 'I', "--output": 'o', "--max-time": 'm', "--connect-timeout": 'm',
			"--header": 'H', "--request": 'X', "--data": 'd', "--write-out": 'w', "--silent": 's', "--show-error": 'S', "--noproxy": 'N'}
		flags := strings.TrimPrefix(a, "-")
		if c, ok := long[a]; ok {
			flags = string(c)
		} else if strings.HasPrefix(a, "--") || !strings.HasPrefix(a, "-") {
			if !strings.HasPrefix(a, "-") {
				o.url = a
			}
			continue
		}
		for _, c := range flags {
			switch c {
			case 'f':
				o.fail = true
			case 'k':
				o.insecure = true
			case 'L':
				o.follow = true
			case 'i':
				o.head = true
			case 'I':
				o.head, o.method = true, "HEAD"
			case 'o':
				o.out = value()
			case 'm':
				o.timeout = seconds(value())
			case 'H':
				addHeader(o.header, value())
			case 'X':
				o.method = value()
			case 'w':
				o.format = value()
			case 'N':
				value()
			case 'd':
				o.body = value()
				if o.method == "GET" {
					o.method = "POST"
				}
			}
		}
	}
	if o.url == "" {
		return fmt.Errorf("no URL specified")
	}
	return fetch(o)
}

func addHeader(h http.Header, line string) {
	k, v, _ := strings.Cut(line, ":")
	h.Add(strings.TrimSpace(k), strings.TrimSpace(v))
}

func seconds(s string) time.Duration {
	d, err := time.ParseDuration(s + "s")
	if err != nil || d <= 0 {
		return time.Minute
	}
	return d
}

// nslookup prints what the resolver of /etc/resolv.conf answers, in the shape of busybox's.
func nslookup(args []string) error {
	var names []string
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			names = append(names, a)
		}
	}
	if names == nil {
		return fmt.Errorf("usage: nslookup NAME [SERVER]")
	}
	r := &net.Resolver{PreferGo: true}
	server := ""
	if len(names) > 1 {
		server = net.JoinHostPort(names[1], "53")
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if net.ParseIP(names[0]) != nil {
		back, err := r.LookupAddr(ctx, names[0])
		if err != nil {
			return err
		}
		for _, n := range back {
			fmt.Printf("%s\tname = %s\n", names[0], n)
		}
		return nil
	}
	addrs, err := r.LookupHost(ctx, names[0])
	if err != nil {
		return fmt.Errorf("can't resolve '%s': %w", names[0], err)
	}
	fmt.Printf("Server:\t\t%s\n\nName:\t%s\n", server, names[0])
	for _, a := range addrs {
		fmt.Printf("Address: %s\n", a)
	}
	return nil
}
