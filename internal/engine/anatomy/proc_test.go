package anatomy

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseMountinfo(t *testing.T) {
	got := ParseMountinfo("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\nrubbish\n1 2 - a\n")
	want := []MountLine{{36, 35, "98:0", "/mnt1", "/mnt 2", "rw,noatime", "master:1 shared:7", "ext3", "/dev/root", "rw,errors=continue"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestParseOverlay(t *testing.T) {
	for super, want := range map[string]Root{
		`rw,lowerdir+=/a,lowerdir+=/b\,c,upperdir=/u,workdir=/w,uuid=on`: {Lower: []string{"/a", "/b,c"}, Upper: "/u", Work: "/w", Options: []string{"uuid=on"}},
		`rw,relatime,lowerdir=/a:/b\:c::/data,upperdir=/u,workdir=/w`:    {Lower: []string{"/a", "/b:c", "/data"}, Upper: "/u", Work: "/w", Options: []string{"relatime"}},
		`ro,lowerdir=/x`: {Lower: []string{"/x"}},
	} {
		if got := ParseOverlay(super); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v", super, got)
		}
	}
}

func TestParseStatus(t *testing.T) {
	s := ParseStatus("Name:\tnginx\nState:\tS (sleeping)\nPPid:\t26057\nUid:\t0\t1\t2\t3\nGid:\t4\t4\t4\t4\nGroups:\t0 27 \nNSpid:\t26086\t1\nVmRSS:\t    1836 kB\n" +
		"Threads:\t7\nCapInh:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n")
	if s.Name != "nginx" || s.Parent != 26057 || s.Inner != 1 || s.RSS != 1836<<10 || !s.NoNewPrivs || s.Seccomp != 2 || s.Filters != 1 || s.Threads != 7 {
		t.Errorf("got %+v", s)
	}
	if !reflect.DeepEqual(s.UID, []int{0, 1, 2, 3}) || !reflect.DeepEqual(s.Groups, []int{0, 27}) {
		t.Errorf("users %v, groups %v", s.UID, s.Groups)
	}
	names := CapabilityNames(s.Bnd)
	if len(names) != 14 || names[0] != "CAP_CHOWN" || names[13] != "CAP_SETFCAP" {
		t.Errorf("capabilities %v", names)
	}
	if got := CapabilityNames(1 << 63); len(got) != 1 || got[0] != "CAP_63" {
		t.Errorf("a number without a name: %v", got)
	}
}

func TestParseCgroup(t *testing.T) {
	got := ParseCgroup("2:cpu,cpuacct:/nau/x\n1:name=systemd:/a:b\n0::/nau/x\nrubbish\n")
	want := []CgroupLine{{"cpu,cpuacct", "/nau/x"}, {"name=systemd", "/a:b"}, {"", "/nau/x"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestParseLimits(t *testing.T) {
	got := ParseLimits("Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max open files            20000                unlimited            files     \nMax nice priority         0                    0                    \n")
	want := []Rlimit{{"open files", "20000", "unlimited", "files"}, {"nice priority", "0", "0", ""}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestHostPath(t *testing.T) {
	table := ParseMountinfo("1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:1 /srv /mnt rw - ext4 /dev/sda rw\n3 1 0:39 / /secrets rw - tmpfs tmpfs rw\n")
	for root, want := range map[string]string{"/etc/hosts": "/etc/hosts", "/srv/a": "/mnt/a", "/srvx": "/srvx", "/": "/"} {
		if got := hostPath(table, "8:1", root); got != want {
			t.Errorf("%s is at %q, want %q", root, got, want)
		}
	}
	if got := hostPath(table, "0:39", "/pod/token"); got != "/secrets/pod/token" {
		t.Errorf("got %q", got)
	}
	if got := hostPath(table, "9:9", "/"); got != "" {
		t.Errorf("a device that is not mounted is at %q", got)
	}
}

func TestTreeAndOrder(t *testing.T) {
	got := tree([]Process{{Pid: 5, Parent: 3}, {Pid: 3, Parent: 1}, {Pid: 9, Parent: 2}, {Pid: 7, Parent: 5}})
	var order []int
	for _, p := range got {
		order = append(order, p.Pid*10+p.Depth)
	}
	if !reflect.DeepEqual(order, []int{30, 51, 72, 90}) {
		t.Errorf("got %v", order)
	}
	var ids []int
	for _, m := range inOrder([]MountLine{{ID: 4, Parent: 2}, {ID: 2, Parent: 1}, {ID: 1, Parent: 0}, {ID: 8, Parent: 8}}) {
		ids = append(ids, m.ID)
	}
	if !reflect.DeepEqual(ids, []int{1, 2, 4, 8}) {
		t.Errorf("got %v", ids)
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - overlay o rw,lowerdir=/a:/b\\:c,upperdir=/u")
	f.Fuzz(func(t *testing.T, text string) {
		all := ParseMountinfo(text)
		if len(all) > strings.Count(text, "\n")+1 {
			t.Fatal("more mounts than lines")
		}
		for _, m := range all {
			ParseOverlay(m.Options2)
			hostPath(all, m.Device, m.Root)
		}
		if len(inOrder(all)) > len(all) && !duplicates(all) {
			t.Fatal("a mount came twice")
		}
	})
}

func duplicates(all []MountLine) bool {
	seen := map[int]bool{}
	for _, m := range all {
		if seen[m.ID] {
			return true
		}
		seen[m.ID] = true
	}
	return false
}

func FuzzStatus(f *testing.F) {
	f.Add("Name:\tx\nUid:\t0\t0\t0\t0\nCapBnd:\tffffffffffffffff\nNSpid:\t1\t2\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := ParseStatus(text)
		for _, set := range []uint64{s.Inh, s.Prm, s.Eff, s.Bnd, s.Amb} {
			if len(CapabilityNames(set)) > 64 {
				t.Fatal("more than 64 capabilities")
			}
		}
		ParseLimits(text)
		ParseIDMap(text)
	})
}

func FuzzCgroup(f *testing.F) {
	f.Add("2:cpu,cpuacct:/nau/x\n0::/\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range ParseCgroup(text) {
			if !strings.HasPrefix(l.Path, "/") || strings.Contains(l.Path, "\n") {
				t.Fatalf("path %q", l.Path)
			}
		}
	})
}

// FuzzRecipes: whatever a container calls its things, a command stays one line and its quotes close.
func FuzzRecipes(f *testing.F) {
	f.Add("it's", "/data;rm -rf /")
	f.Fuzz(func(t *testing.T, word, path string) {
		if strings.ContainsAny(word+path, "\n\x00") || !utf8.ValidString(word+path) {
			return
		}
		if q := quote(word); shell(q) != word {
			t.Fatalf("a shell reads %s as %q, not %q", q, shell(q), word)
		}
		_ = printable(word)
		intervalText([]byte(path), []byte(word))
		parseVerdict([]byte(word))
	})
}

// shell reads a word as a shell does, as far as quote goes; what would end the word or mean something is "BAD".
func shell(s string) string {
	var out strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case !quoted && s[i] == '\\' && i+1 < len(s):
			i++
			out.WriteByte(s[i])
		case !quoted && strings.IndexByte(" \t;&|<>()$`\"*?[#~!{}", s[i]) >= 0:
			return "BAD"
		default:
			out.WriteByte(s[i])
		}
	}
	if quoted {
		return "BAD"
	}
	return out.String()
}
