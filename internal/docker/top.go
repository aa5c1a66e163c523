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

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }

// getTop answers GET /containers/{id}/top: the processes of the container's PID namespace, in the columns of `ps -ef`.
func (s *Server) getTop(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	if !running(r) {
		return conflict("container %s is not running", r.ID)
	}
	doc := dc.TopResponse{Titles: []string{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}, Processes: [][]string{}}
	names := userNames()
	for _, pid := range processesOf(r.Cgroup) {
		if p, ok := readProcess(pid, names); ok {
			doc.Processes = append(doc.Processes, p)
		}
	}
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

// readProcess is one line of ps. Source: proc(5).
func readProcess(pid int, names map[int]string) ([]string, bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return nil, false
	}
	end := strings.LastIndexByte(string(stat), ')')
	f := strings.Fields(string(stat)[end+1:])
	if end < 0 || len(f) < 20 {
		return nil, false
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, false
	}
	uid := ownerOf(info)
	name, ok := names[uid]
	if !ok {
		name = strconv.Itoa(uid)
	}
	num := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
	used := (num(11) + num(12)) / userHz
	began := time.Now()
	if up, err := os.ReadFile("/proc/uptime"); err == nil {
		if first := strings.Fields(string(up)); len(first) > 0 {
			secs, _ := strconv.ParseFloat(first[0], 64)
			began = began.Add(-time.Duration((secs - float64(num(19))/userHz) * float64(time.Second)))
		}
	}
	cmd, _ := os.ReadFile(dir + "cmdline")
	text := strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " "))
	if text == "" {
		text = "[" + string(stat)[strings.IndexByte(string(stat), '(')+1:end] + "]"
	}
	share := "0"
	if ran := int64(time.Since(began).Seconds()); ran > 0 {
		share = strconv.FormatInt(min(99, used*100/ran), 10)
	}
	tty := "?"
	if n := num(4); n != 0 {
		tty = fmt.Sprintf("pts/%d", n&0xff)
	}
	return []string{name, strconv.Itoa(pid), f[1], share, began.Format("15:04"), tty, fmt.Sprintf("%02d:%02d:%02d", used/3600, used/60%60, used%60), text}, true
}
