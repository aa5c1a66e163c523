package docker

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/user"

	dc "github.com/moby/moby/api/types/container"
)

// getTop answers GET /containers/{id}/top: the container's processes, in the columns that ps_args asks for.
func (s *Server) getTop(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	if !running(r) {
		return conflict("container %s is not running", r.ID)
	}
	columns, by, err := psColumns(c.get("ps_args"))
	if err != nil {
		return err
	}
	doc := dc.TopResponse{Processes: [][]string{}}
	for _, col := range columns {
		doc.Titles = append(doc.Titles, col.title)
	}
	names, now := userNames(), time.Now()
	var all []proc
	for _, pid := range processesOf(r.Cgroup) {
		p, ok := readProcess(pid, now)
		if !ok {
			continue
		}
		if p.user, ok = names[p.uid]; !ok {
			p.user = strconv.Itoa(p.uid)
		}
		all = append(all, p)
	}
	arrange(all, by)
	for _, p := range all {
		row := make([]string, 0, len(columns))
		for _, col := range columns {
			row = append(row, col.of(&p))
		}
		doc.Processes = append(doc.Processes, row)
	}
	s.hub.container("top", r, nil)
	return c.json(http.StatusOK, doc)
}

// processesOf lists a cgroup's processes, on whatever hierarchy it is found.
func processesOf(cgroup string) []int {
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		b, err := os.ReadFile(filepath.Join(root, cgroup, "cgroup.procs"))
		if err != nil {
			continue
		}
		var out []int
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
		return out
	}
	return nil
}

func userNames() map[int]string {
	out := map[int]string{}
	all, _ := user.ParsePasswdFile("/etc/passwd")
	for _, u := range all {
		if _, seen := out[u.Uid]; !seen {
			out[u.Uid] = u.Name
		}
	}
	return out
}

// process is what proc(5) tells of one.
type proc struct {
	pid, ppid, uid      int
	user, comm, command string
	state, tty          string
	used, ran           int64 // seconds
	began               time.Time
	rss, vsz            int64 // KiB
	nice, threads       int64
}

// readProcess reads one process. Source: proc(5).
func readProcess(pid int, now time.Time) (p proc, ok bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return p, false
	}
	begin, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if begin < 0 || end < begin {
		return p, false
	}
	f := strings.Fields(string(stat)[end+1:])
	info, err := os.Stat(dir)
	if err != nil || len(f) < 22 {
		return p, false
	}
	num := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
	p = proc{pid: pid, ppid: int(num(1)), uid: ownerOf(info), comm: string(stat)[begin+1 : end], state: f[0], used: (num(11) + num(12)) / userHz,
		nice: num(16), threads: num(17), vsz: num(20) >> 10, rss: num(21) * int64(os.Getpagesize()) >> 10, tty: "?", began: now}
	if n := num(4); n != 0 {
		p.tty = fmt.Sprintf("pts/%d", n&0xff)
	}
	if up, err := os.ReadFile("/proc/uptime"); err == nil {
		if first := strings.Fields(string(up)); len(first) > 0 {
			secs, _ := strconv.ParseFloat(first[0], 64)
			p.began = now.Add(-time.Duration((secs - float64(num(19))/userHz) * float64(time.Second)))
		}
	}
	p.ran = int64(now.Sub(p.began).Seconds())
	cmd, _ := os.ReadFile(dir + "cmdline")
	if p.command = strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " ")); p.command == "" {
		p.command = "[" + p.comm + "]"
	}
	return p, true
}
