package harness

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A transcript is a text of commands and what they print:
//
//	# a remark
//	$ kubectl get pods
//	  NAME READY STATUS
//	  [exit 1]
//
// Output is compared after [Settle] has taken away what no two runs share. With
// REWRITE=1 in the environment the file is written anew, to be reviewed as a diff.

// step is one command with the lines before it and its expected output.
type step struct {
	remarks []string
	command string
	output  []string
}

func parseTranscript(text string) (steps []step, err error) {
	var next step
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			next.remarks = append(next.remarks, line)
		case strings.HasPrefix(line, "$ "):
			next.command = line[2:]
			steps = append(steps, next)
			next = step{}
		case strings.HasPrefix(line, "  ") && len(steps) > 0 && len(next.remarks) == 0:
			last := &steps[len(steps)-1]
			last.output = append(last.output, line[2:])
		default:
			return nil, fmt.Errorf("line %d is neither remark, command nor output: %q", n+1, line)
		}
	}
	return steps, nil
}

func formatTranscript(steps []step) string {
	var out strings.Builder
	for _, s := range steps {
		for _, r := range s.remarks {
			fmt.Fprintln(&out, r)
		}
		fmt.Fprintln(&out, "$ "+s.command)
		for _, line := range s.output {
			fmt.Fprintln(&out, "  "+line)
		}
	}
	return out.String()
}

// settled are what no two runs share, and what stands for it.
var settled = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`20\d\d-\d\d-\d\dT[\d:.]+Z`), "TIME"},
	{regexp.MustCompile(`\w{3}, \d\d \w{3} 20\d\d [\d:]+ [+-]\d{4}`), "DATE"},
	{regexp.MustCompile(`20\d\d-\d\d-\d\d [\d:]+ [+-]\d{4} \w+`), "DATE"},
	{regexp.MustCompile(`(resourceVersion: )"\d+"`), "${1}RV"},
	{regexp.MustCompile(`(Resource Version: +)\d+`), "${1}RV"},
	{regexp.MustCompile(`( deleted) from \w+ namespace`), "$1"}, // kubectl 1.34 and later
	{regexp.MustCompile(`\b10\.42\.\d+\.\d+\b`), "POD-IP"},
	{regexp.MustCompile(`\b10\.43\.\d+\.\d+\b`), "SERVICE-IP"},
	{regexp.MustCompile(`\bfd42:[0-9a-f:]+`), "POD-IP6"},
	{regexp.MustCompile(`\b(web|orphan)-[0-9a-f]{7,10}-[a-z0-9]{5}\b`), "$1-HASH-RAND"},
	{regexp.MustCompile(`\b(web|orphan)-[0-9a-f]{7,10}\b`), "$1-HASH"},
	{regexp.MustCompile(`(pod-template-hash[=:] ?"?)[0-9a-f]+`), "${1}HASH"},
	{regexp.MustCompile(`kube-api-access-\w{5}`), "kube-api-access-RAND"},
	{regexp.MustCompile(`\b3\d{4}/TCP`), "NODE-PORT/TCP"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m\d*s?|h\d*m?)(\s|$|\)| ago)`), "AGE$3"},
	{regexp.MustCompile(` {2,}|\t+`), " "},
	{regexp.MustCompile(` +$`), ""},
}

// Settle takes away from a line what no two runs share: times, ages, identities,
// addresses, and the width of columns.
func Settle(line string) string {
	for _, s := range settled {
		line = s.find.ReplaceAllString(line, s.put)
	}
	return line
}

// Transcript runs the commands of a file, in the directory dir, and compares what
// they print. A command that takes a different turn does not stop the others.
func (m *Machine) Transcript(path, dir string) {
	m.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	steps, err := parseTranscript(string(text))
	if err != nil {
		m.t.Fatalf("%s: %v", path, err)
	}
	rewrite := os.Getenv("REWRITE") == "1"
	for i := range steps {
		s := &steps[i]
		r := m.Do("", "sh", "-c", "cd '"+dir+"' && exec 2>&1; "+s.command)
		var got []string
		for line := range strings.Lines(r.Stdout + r.Stderr) {
			got = append(got, Settle(strings.TrimRight(line, "\n")))
		}
		if r.Code != 0 {
			got = append(got, fmt.Sprintf("[exit %d]", r.Code))
		}
		if rewrite {
			s.output = got
			continue
		}
		if want := strings.Join(s.output, "\n"); strings.Join(got, "\n") != want {
			m.t.Errorf("$ %s\ngot\n%s\nwant\n%s", s.command, strings.Join(got, "\n"), want)
		}
	}
	if rewrite {
		if err := os.WriteFile(path, []byte(formatTranscript(steps)), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
}
