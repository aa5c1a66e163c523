package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// reportFD is where a detached process finds the pipe to its starter.
const reportFD = 3

// reportVariable tells a process that it was started by Detach.
const reportVariable = "NAU_REPORT_FD"

// Report is the pipe from a detached process to the one that started it: lines
// to show, then "ready", or an error.
type Report struct{ w io.WriteCloser }

// Reporter gives the pipe to the starter, or nil in a foreground process.
func Reporter() *Report {
	if os.Getenv(reportVariable) == "" {
		return nil
	}
	os.Unsetenv(reportVariable)
	syscall.CloseOnExec(reportFD)
	return &Report{os.NewFile(reportFD, "report")}
}

// Line shows a line on the starter's terminal.
func (r *Report) Line(text string) { fmt.Fprintf(r.w, "line %s\n", strings.TrimRight(text, "\n")) }

// Ready lets the starter return with success.
func (r *Report) Ready() { fmt.Fprintln(r.w, "ready"); r.w.Close() }

// Fail lets the starter return with this error and exit code.
func (r *Report) Fail(code int, err error) {
	fmt.Fprintf(r.w, "fail %d %s\n", code, strings.ReplaceAll(err.Error(), "\n", "; "))
	r.w.Close()
}

// Failure is a detached process's last word.
type Failure struct {
	Code    int
	Message string
}

func (f *Failure) Error() string { return f.Message }

// Detach starts this program again in a session of its own, with output to
// logPath, shows its report lines through show and returns when it is ready. When ctx
// ends before that, the process is asked to end.
func Detach(ctx context.Context, args []string, logPath string, show func(string)) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return 0, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	cmd := exec.Command(self, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), reportVariable+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", self, err)
	}
	pid = cmd.Process.Pid
	defer context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })()
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		word, rest, _ := strings.Cut(scanner.Text(), " ")
		switch word {
		case "line":
			show(rest)
		case "ready":
			return pid, cmd.Process.Release()
		case "fail":
			failure := &Failure{Code: 1}
			fmt.Sscanf(rest, "%d", &failure.Code)
			_, failure.Message, _ = strings.Cut(rest, " ")
			cmd.Wait()
			return 0, failure
		}
	}
	cmd.Wait()
	return 0, fmt.Errorf("nau ended while starting; its last words are in %s", logPath)
}
