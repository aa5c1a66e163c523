package child

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestPrivateMappings(t *testing.T) {
	const maps = `00400000-0058a000 r-xp 00000000 fe:01 1337 /usr/bin/program with spaces
0058a000-00700000 r--p 0018a000 fe:01 1337 /usr/bin/program with spaces
00700000-00710000 rw-p 00300000 fe:01 1337 /usr/bin/program with spaces
00710000-00740000 rw-p 00000000 00:00 0
00750000-00760000 rw-p 00000000 00:00 0
c000000000-c000400000 rw-p 00000000 00:00 0  [anon: Go: heap]
c000400000-c004000000 ---p 00000000 00:00 0  [anon: Go: heap reservation]
7f0000000000-7f0000100000 rw-s 00000000 00:01 99 /memfd:shared (deleted)
7f0000100000-7f0000200000 rw-s 00000000 00:00 0
7fff00000000-7fff00021000 rw-p 00000000 00:00 0  [stack]
7fff00050000-7fff00054000 r--p 00000000 00:00 0  [vvar]
not a line
`
	variables, end := private([]byte(maps))
	if want := [][2]uintptr{{0x700000, 0x710000}, {0x710000, 0x740000}, {0x750000, 0x760000}}; !reflect.DeepEqual(variables, want) {
		t.Errorf("variables %x, want %x", variables, want)
	}
	if end != 0x7f0000000000 {
		t.Errorf("the memory ends at %x, want that of another's file", end)
	}
}

// waiting makes a child that waits and hands out its number, and where it is let go on and reports.
func waiting(t *testing.T, p *Program, then func()) (pid int, goOn, reports *os.File) {
	t.Helper()
	r, w := pipe(t)
	goR, goW := pipe(t)
	p.Ready()
	p.Await(int(goR.Fd()))
	then()
	pid, pidfd, err := p.Start(0, -1, int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pidfd) })
	w.Close()
	if _, err := p.Next(r); err != nil {
		t.Fatal(err)
	}
	return pid, goW, r
}

func letGo(t *testing.T, goOn *os.File) {
	t.Helper()
	if _, err := goOn.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
}

// A child on its way into a container must not carry what this program knows of other containers.
func TestChildHasNoHeap(t *testing.T) {
	secret := new(strings.Builder)
	fmt.Fprint(secret, "a secret of another container")
	at := uint64(uintptr(unsafe.Pointer(unsafe.StringData(secret.String()))))
	late, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON) // as the runtime does when it grows
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(late)
	grown := uint64(uintptr(unsafe.Pointer(&late[0])))
	variable := uint64(uintptr(unsafe.Pointer(&alone)))
	pid, goOn, _ := waiting(t, &Program{}, func() {})
	maps, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(maps), "r-xp") {
		t.Fatalf("the child has no code: %s", maps)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if from <= at && at < to {
			t.Errorf("the child has a copy of the heap at %#x: %s", at, line)
		}
		if from <= grown && grown < to {
			t.Errorf("the child has a copy of what was mapped late at %#x: %s", grown, line)
		}
		if from <= variable && variable < to {
			t.Errorf("the child has a copy of the program's variables at %#x: %s", variable, line)
		}
	}
	letGo(t, goOn)
	wait(t, pid)
	if secret.Len() == 0 {
		t.Error("the heap of the parent is gone")
	}
}

// The executed program sees no handler and no blocked or ignored signal of ours.
func TestExecutedProgramStartsClean(t *testing.T) {
	out, err := os.Create(t.TempDir() + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	signal.Ignore(unix.SIGHUP, unix.SIGUSR2)
	defer signal.Reset(unix.SIGHUP, unix.SIGUSR2)
	p := &Program{}
	p.Call("set up output", unix.SYS_DUP3, out.Fd(), 1, 0)
	execute(t, p, 0, []string{"cat", "/proc/self/status"}, nil)
	status, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		if want := "\n" + line + ":\t0000000000000000\n"; !strings.Contains(string(status), want) {
			t.Errorf("%s is not zero:\n%s", line, status)
		}
	}
}

// Arguments and environment may be longer than a chunk of the region.
func TestLongArguments(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	execute(t, &Program{}, 7, []string{"sh", "-c", "[ ${#1} = 100000 ] && [ ${#LONG} = 100000 ] && exit 7", "sh", long}, []string{"LONG=" + long})
}

func execute(t *testing.T, p *Program, code int, argv, env []string) {
	t.Helper()
	pid, goOn, reports := waiting(t, p, func() {
		if err := p.Exec([]string{"/bin/" + argv[0]}, argv, env); err != nil {
			t.Fatal(err)
		}
	})
	letGo(t, goOn)
	if _, err := p.Next(reports); !errors.Is(err, ErrEnded) {
		t.Fatalf("report after exec: %v", err)
	}
	if ws := wait(t, pid); ws.ExitStatus() != code {
		t.Fatalf("exit code %d, want %d", ws.ExitStatus(), code)
	}
}

// A program that is started has given its memory back.
func TestRegionIsGivenBack(t *testing.T) {
	p := &Program{}
	if _, err := p.String(strings.Repeat("y", 3*chunkSize)); err != nil {
		t.Fatal(err)
	}
	pid, goOn, _ := waiting(t, p, func() {})
	if len(p.mem.chunks) != 0 {
		t.Errorf("%d chunks are left after the start", len(p.mem.chunks))
	}
	letGo(t, goOn)
	wait(t, pid)
}
