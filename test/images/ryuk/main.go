// Command ryuk stands for Testcontainers' reaper in tests without a registry on the internet: a static program that speaks its protocol. A
// client connects to :8080 and writes a line of label filters ("label=a=b&label=c=d"), which is acknowledged. When the last client has gone
// and none comes back in time, it takes no more clients and removes, through the Docker socket, all that has the labels, except containers that are
// younger than that: they belong to whoever starts a reaper after this one. It is a test image, and no more than that.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

func main() {
	patience := 10 * time.Second
	if d, err := time.ParseDuration(os.Getenv("RYUK_RECONNECTION_TIMEOUT")); err == nil {
		patience = d
	}
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		fmt.Fprintln(os.Stderr, "ryuk:", err)
		os.Exit(1)
	}
	fmt.Println("Started")
	filters := reap(listener, patience)
	now := time.Now()
	for _, f := range filters {
		if err := remove(f, now); err != nil {
			fmt.Fprintln(os.Stderr, "ryuk:", err)
		}
	}
}

// reap takes filters until no client is left for as long as patience.
func reap(listener net.Listener, patience time.Duration) []url.Values {
	conns, lines, gone := make(chan net.Conn), make(chan url.Values), make(chan struct{})
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	var all []url.Values
	clients := 0
	alone := time.NewTimer(time.Minute)
	for {
		select {
		case c := <-conns:
			clients++
			alone.Stop()
			go func() {
				defer func() { c.Close(); gone <- struct{}{} }()
				for s := bufio.NewScanner(c); s.Scan(); {
					if f, err := url.ParseQuery(s.Text()); err == nil && len(f) > 0 {
						lines <- f
						fmt.Fprintln(c, "ACK")
					}
				}
			}()
		case f := <-lines:
			all = append(all, f)
		case <-gone:
			if clients--; clients == 0 {
				alone.Reset(patience)
			}
		case <-alone.C:
			listener.Close()
			return all
		}
	}
}

var docker = http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", "/var/run/docker.sock")
}}}

// remove removes what has the labels, containers first: they hold the rest.
func remove(f url.Values, now time.Time) error {
	filters, err := json.Marshal(f)
	if err != nil {
		return err
	}
	query := "filters=" + url.QueryEscape(string(filters))
	for _, kind := range []struct{ list, id, remove string }{
		{"/containers/json?all=1&" + query, "Id", "/containers/%s?force=1&v=1"},
		{"/networks?" + query, "Id", "/networks/%s"},
		{"/volumes?" + query, "Name", "/volumes/%s?force=1"},
		{"/images/json?" + query, "Id", "/images/%s"},
	} {
		ids, err := list(kind.list, kind.id, now)
		if err != nil {
			return err
		}
		for _, id := range ids {
			req, err := http.NewRequest(http.MethodDelete, "http://docker"+fmt.Sprintf(kind.remove, id), nil)
			if err != nil {
				return err
			}
			if r, err := docker.Do(req); err == nil {
				r.Body.Close()
				fmt.Println("removed", id)
			}
		}
	}
	return nil
}

func list(path, id string, now time.Time) (ids []string, err error) {
	r, err := docker.Get("http://docker" + path)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var items []map[string]any
	if strings.HasPrefix(path, "/volumes") {
		var wrapped struct{ Volumes []map[string]any }
		err = json.NewDecoder(r.Body).Decode(&wrapped)
		items = wrapped.Volumes
	} else {
		err = json.NewDecoder(r.Body).Decode(&items)
	}
	for _, item := range items {
		if made, ok := item["Created"].(float64); ok && strings.HasPrefix(path, "/containers") && int64(made) >= now.Unix() {
			continue
		}
		if s, ok := item[id].(string); ok {
			ids = append(ids, s)
		}
	}
	return ids, err
}
