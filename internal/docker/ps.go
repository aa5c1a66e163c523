package docker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// column is one of ps's.
type column struct {
	title string
	of    func(*proc) string
}

// sorting is what ps's lines are put in order by.
type sorting struct {
	of   func(*proc) string
	down bool
}

func clock(secs int64) string {
	return fmt.Sprintf("%02d:%02d:%02d", secs/3600, secs/60%60, secs%60)
}

func share(p *proc) float64 {
	if p.ran <= 0 {
		return 0
	}
	return min(99, float64(p.used)*100/float64(p.ran))
}

// psFields are the columns that -o may name. Source: ps(1), standard format specifiers.
var psFields = map[string]column{
	"pid":     {"PID", func(p *proc) string { return strconv.Itoa(p.pid) }},
	"ppid":    {"PPID", func(p *proc) string { return strconv.Itoa(p.ppid) }},
	"uid":     {"UID", func(p *proc) string { return strconv.Itoa(p.uid) }},
	"user":    {"USER", func(p *proc) string { return p.user }},
	"comm":    {"COMMAND", func(p *proc) string { return p.comm }},
	"cmd":     {"CMD", func(p *proc) string { return p.command }},
	"args":    {"COMMAND", func(p *proc) string { return p.command }},
	"command": {"COMMAND", func(p *proc) string { return p.command }},
	"bsdtime": {"TIME", func(p *proc) string { return fmt.Sprintf("%d:%02d", p.used/60, p.used%60) }},
	"time":    {"TIME", func(p *proc) string { return clock(p.used) }},
	"etime":   {"ELAPSED", func(p *proc) string { return strings.TrimPrefix(clock(p.ran), "00:") }},
	"etimes":  {"ELAPSED", func(p *proc) string { return strconv.FormatInt(p.ran, 10) }},
	"stime":   {"STIME", func(p *proc) string { return p.began.Format("15:04") }},
	"start":   {"STARTED", func(p *proc) string { return p.began.Format("15:04:05") }},
	"tty":     {"TT", func(p *proc) string { return p.tty }},
	"tt":      {"TT", func(p *proc) string { return p.tty }},
	"s":       {"S", func(p *proc) string { return p.state }},
	"state":   {"S", func(p *proc) string { return p.state }},
	"stat":    {"STAT", func(p *proc) string { return p.state }},
	"rss":     {"RSS", func(p *proc) string { return strconv.FormatInt(p.rss, 10) }},
	"vsz":     {"VSZ", func(p *proc) string { return strconv.FormatInt(p.vsz, 10) }},
	"c":       {"C", func(p *proc) string { return strconv.Itoa(int(share(p))) }},
	"%cpu":    {"%CPU", func(p *proc) string { return fmt.Sprintf("%.1f", share(p)) }},
	"pcpu":    {"%CPU", func(p *proc) string { return fmt.Sprintf("%.1f", share(p)) }},
	"%mem":    {"%MEM", func(p *proc) string { return fmt.Sprintf("%.1f", float64(p.rss)*102400/float64(max(memTotal(), 1))) }},
	"pmem":    {"%MEM", func(p *proc) string { return fmt.Sprintf("%.1f", float64(p.rss)*102400/float64(max(memTotal(), 1))) }},
	"ni":      {"NI", func(p *proc) string { return strconv.FormatInt(p.nice, 10) }},
	"nlwp":    {"NLWP", func(p *proc) string { return strconv.FormatInt(p.threads, 10) }},
}

// The two layouts that people know by heart.
var (
	psFull = "user=UID,pid,ppid,c,stime,tty=TTY,time,cmd"
	psAux  = "user,pid,%cpu,%mem,vsz,rss,tty=TTY,stat,stime=START,bsdtime,args"
)

// psColumns reads the arguments of ps. No ps is run: it would need one on the host, and its arguments can name files.
func psColumns(args string) (out []column, by []sorting, err error) {
	layout, chosen := psFull, ""
	order := func(list string) error {
		for _, f := range strings.Split(list, ",") {
			name := strings.TrimLeft(f, "+-")
			c, ok := psFields[strings.ToLower(name)]
			if !ok {
				return badRequest("ps: error: unknown sort specifier %q: there are %s", name, strings.Join(slices.Sorted(maps.Keys(psFields)), ", "))
			}
			by = append(by, sorting{c.of, strings.HasPrefix(f, "-")})
		}
		return nil
	}
	words := strings.Fields(args)
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case slices.Contains([]string{"-ef", "-e", "-f", "-fe", "-A", "ax", "-ax"}, w):
		case slices.Contains([]string{"aux", "-aux", "axu", "u", "auxw", "auxww"}, w):
			layout = psAux
		case w == "-o" || w == "o" || w == "-eo" || w == "-axo" || w == "axo" || w == "--format":
			if i++; i == len(words) {
				return nil, nil, badRequest("ps: %s needs a list of columns", w)
			}
			chosen += "," + words[i]
		case w == "--sort" || w == "k":
			if i++; i == len(words) {
				return nil, nil, badRequest("ps: %s needs a list of columns to sort by", w)
			}
			err = order(words[i])
		case strings.HasPrefix(w, "--sort="):
			err = order(w[len("--sort="):])
		case strings.HasPrefix(w, "-o"):
			chosen += "," + w[2:]
		case strings.HasPrefix(w, "--format="):
			chosen += "," + w[len("--format="):]
		default:
			err = badRequest("ps: %q is not known here: there are -ef, aux, -o with a list of columns, and --sort", w)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if chosen != "" {
		layout = strings.TrimPrefix(chosen, ",")
	}
	hasPid := false
	for _, field := range strings.Split(layout, ",") {
		name, title, titled := strings.Cut(field, "=")
		c, ok := psFields[strings.ToLower(name)]
		if !ok {
			return nil, nil, badRequest("ps: unknown user-defined format specifier %q: there are %s", name, strings.Join(slices.Sorted(maps.Keys(psFields)), ", "))
		}
		if titled {
			c.title = title
		}
		hasPid = hasPid || c.title == "PID"
		out = append(out, c)
	}
	if !hasPid {
		return nil, nil, fail(500, "Couldn't find PID field in ps output")
	}
	return out, by, nil
}

// arrange puts processes in order: numbers by their size, all else by its letters.
func arrange(all []proc, by []sorting) {
	slices.SortStableFunc(all, func(a, b proc) int {
		for _, s := range by {
			x, y := s.of(&a), s.of(&b)
			n := strings.Compare(x, y)
			if i, err := strconv.ParseFloat(x, 64); err == nil {
				if j, err := strconv.ParseFloat(y, 64); err == nil {
					n = cmp.Compare(i, j)
				}
			}
			if s.down {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
}
