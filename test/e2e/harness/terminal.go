package harness

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Terminal is a command on a terminal of its own.
type Terminal struct {
	m      *Machine
	master *os.File
	cmd    *Cmd
	mu     sync.Mutex
	seen   bytes.Buffer
}

// Terminal starts a command inside on a new terminal of 80 columns and 24 rows.
func (m *Machine) Terminal(name string, args ...string) *Terminal {
	m.t.Helper()
	master, slave, err := openTerminal()
	if err != nil {
		m.t.Fatalf("open a terminal: %v", err)
	}
	cmd := m.Command(name, args...)
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	slave.Close()
	if err != nil {
		m.t.Fatal(err)
	}
	t := &Terminal{m: m, master: master, cmd: cmd}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			t.mu.Lock()
			t.seen.Write(buffer[:n])
			t.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	m.t.Cleanup(func() { cmd.Process.Kill(); master.Close() })
	return t
}

func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	if err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

// Resize gives the terminal another size; the command is told.
func (t *Terminal) Resize(rows, columns uint16) {
	unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
}

// Type types text.
func (t *Terminal) Type(text string) {
	t.m.t.Helper()
	if _, err := t.master.WriteString(text); err != nil {
		t.m.t.Fatal(err)
	}
}

// Expect waits until want is on the screen.
func (t *Terminal) Expect(want string) {
	t.m.t.Helper()
	if !poll(func() bool { return strings.Contains(t.Seen(), want) }) {
		t.m.t.Fatalf("the terminal never showed %q but\n%s", want, t.Seen())
	}
}

// Seen is all that the terminal showed.
func (t *Terminal) Seen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen.String()
}

// Wait waits for the command's end and gives its exit code.
func (t *Terminal) Wait() int {
	t.cmd.Wait()
	return t.cmd.ProcessState.ExitCode()
}
