package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	banner  = "nginx/1.25.3"
	pidFile = "/run/nginx.pid"
)

// nginx serves as the program of that name does in a container: in the foreground, access lines on standard output, SIGHUP reads the
// configuration again, SIGQUIT and SIGTERM end it when open requests are answered.
func nginx(args []string) error {
	conf := "/etc/nginx/nginx.conf"
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-v":
			fmt.Fprintln(os.Stderr, "nginx version: "+banner)
			return nil
		case "-t":
			if _, err := loadConf(conf); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "nginx: configuration file %s test is successful\n", conf)
			return nil
		case "-c", "-g", "-p", "-s":
			if i+1 == len(args) {
				return fmt.Errorf("option %q requires parameter", args[i])
			}
			i++
			if args[i-1] == "-c" {
				conf = args[i]
			}
			if args[i-1] == "-s" {
				return signalMaster(args[i])
			}
		default:
			return fmt.Errorf("invalid option: %q", args[i])
		}
	}
	servers, err := loadConf(conf)
	if err != nil {
		return err
	}
	_ = os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644) // a read-only root has none, as nginx there
	return serve(servers, func() ([]server, error) { return loadConf(conf) })
}

func signalMaster(what string) error {
	sig, ok := map[string]syscall.Signal{"quit": syscall.SIGQUIT, "stop": syscall.SIGTERM, "reload": syscall.SIGHUP, "reopen": syscall.SIGUSR1}[what]
	if !ok {
		return fmt.Errorf("invalid option: \"-s %s\"", what)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("invalid PID number in %q", pidFile)
	}
	return syscall.Kill(pid, sig)
}

// app is the examples' own application: it tells its version and where it runs, on port 8080 or $PORT, by HTTP and to every UDP packet.
func app(args []string) error {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	host, _ := os.Hostname()
	text := fmt.Sprintf("app %s on %s\n", os.Getenv("APP_VERSION"), host)
	if err := answerUDP(":"+port, text); err != nil {
		return err
	}
	return serve([]server{{listen: []string{":" + port}, code: 200, text: text}}, nil)
}

func serve(servers []server, reload func() ([]server, error)) error {
	sigs := make(chan os.Signal, 4)
	signal.Notify(sigs, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	var current atomic.Pointer[map[string]*server]
	set := func(all []server) {
		m := map[string]*server{}
		for i := range all {
			for _, l := range all[i].listen {
				if m[l] == nil {
					m[l] = &all[i]
				}
			}
		}
		current.Store(&m)
	}
	set(servers)
	var running []*http.Server
	failed := make(chan error, len(*current.Load()))
	for addr := range *current.Load() {
		network := "tcp4" // as nginx: "listen 80" is IPv4 alone, "[::]:80" IPv6 alone
		if strings.HasPrefix(addr, "[") {
			network = "tcp6"
		}
		l, err := net.Listen(network, addr)
		if network == "tcp6" && errors.Is(err, syscall.EAFNOSUPPORT) {
			continue // the host has no IPv6
		}
		if err != nil {
			return fmt.Errorf("bind() to %s failed: %w", addr, err)
		}
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		h := &http.Server{Protocols: protocols, ReadHeaderTimeout: time.Minute, IdleTimeout: 75 * time.Second, Handler: logged(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == healthCheck {
				healthy(w)
				return
			}
			s := (*current.Load())[addr]
			if s == nil {
				s = &servers[0]
			}
			s.ServeHTTP(w, r)
		}))}
		running = append(running, h)
		go func() {
			if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	for {
		select {
		case err := <-failed:
			return err
		case s := <-sigs:
			if s == syscall.SIGUSR1 {
				continue
			}
			if s == syscall.SIGHUP {
				if reload == nil {
					continue
				}
				all, err := reload()
				if err != nil {
					fmt.Fprintln(os.Stderr, "nginx: [emerg]", err)
					continue
				}
				set(all)
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			for _, h := range running {
				_ = h.Shutdown(ctx)
			}
			return nil
		}
	}
}

// logged writes one line a request in nginx's "combined" form.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counting{ResponseWriter: w, code: 200}
		c.Header().Set("Server", banner)
		next.ServeHTTP(c, r)
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		dash := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		fmt.Printf("%s - - [%s] \"%s %s %s\" %d %d %q %q %q\n", host, time.Now().Format("02/Jan/2006:15:04:05 -0700"), r.Method, r.URL.RequestURI(), r.Proto,
			c.code, c.n, dash(r.Referer()), dash(r.UserAgent()), dash(r.Header.Get("X-Forwarded-For")))
	})
}

type counting struct {
	http.ResponseWriter
	code int
	n    int64
}

func (c *counting) WriteHeader(code int) { c.code = code; c.ResponseWriter.WriteHeader(code) }
func (c *counting) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	root, code, text := s.root, s.code, s.text
	if l := s.match(r.URL.Path); l != nil && code == 0 {
		code, text = l.code, l.text
		if l.root != "" {
			root = l.root
		}
	}
	switch {
	case code >= 301 && code <= 308 && text != "":
		w.Header().Set("Location", text)
		page(w, code)
	case code != 0 && text != "":
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	case code != 0:
		page(w, code)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		page(w, http.StatusMethodNotAllowed)
	default:
		s.file(w, r, root)
	}
}

func (s *server) file(w http.ResponseWriter, r *http.Request, root string) {
	name := path.Clean("/" + r.URL.Path)
	st, err := os.Stat(root + name)
	if err == nil && st.IsDir() {
		if !strings.HasSuffix(r.URL.Path, "/") {
			w.Header().Set("Location", name+"/")
			page(w, http.StatusMovedPermanently)
			return
		}
		dir := name
		err = os.ErrPermission
		for _, i := range s.index {
			if ist, ierr := os.Stat(root + path.Join(dir, i)); ierr == nil && !ist.IsDir() {
				name, st, err = path.Join(dir, i), ist, nil
				break
			}
		}
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(root + name)
	}
	switch {
	case os.IsNotExist(err) || errors.Is(err, syscall.ENOTDIR):
		fmt.Fprintf(os.Stderr, "%s [error] open() \"%s%s\" failed (2: No such file or directory)\n", time.Now().Format("2006/01/02 15:04:05"), root, name)
		page(w, http.StatusNotFound)
	case os.IsPermission(err):
		page(w, http.StatusForbidden)
	case err != nil:
		page(w, http.StatusInternalServerError)
	default:
		defer f.Close()
		w.Header().Set("ETag", fmt.Sprintf("\"%x-%x\"", st.ModTime().Unix(), st.Size()))
		http.ServeContent(w, r, name, st.ModTime(), f)
	}
}

func page(w http.ResponseWriter, code int) {
	title := strconv.Itoa(code) + " " + http.StatusText(code)
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(code)
	fmt.Fprintf(w, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n<hr><center>%s</center>\r\n</body>\r\n</html>\r\n", title, title, banner)
}
