package rootfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []string
		want Options
	}{
		{"none", nil, Options{}},
		{"defaults", []string{"defaults", "rw"}, Options{Clear: unix.MOUNT_ATTR_RDONLY}},
		{"flags", []string{"nosuid", "nodev", "noexec", "ro"}, Options{Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_RDONLY}},
		{"the later counts", []string{"ro", "rw", "dev", "nodev"}, Options{Set: unix.MOUNT_ATTR_NODEV, Clear: unix.MOUNT_ATTR_RDONLY}},
		{"access times exclude each other", []string{"noatime", "strictatime"}, Options{Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME}},
		{"relatime", []string{"relatime"}, Options{Clear: unix.MOUNT_ATTR__ATIME}},
		{"recursive", []string{"rbind", "rro", "rnosuid"}, Options{Bind: true, Recursive: true, RecSet: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}},
		{"relatime is not recursive elatime", []string{"rrelatime"}, Options{RecClear: unix.MOUNT_ATTR__ATIME}},
		{"propagation", []string{"bind", "rslave"}, Options{Bind: true, Propagation: unix.MS_SLAVE, PropagationRec: true}},
		{"shared", []string{"bind", "shared"}, Options{Bind: true, Propagation: unix.MS_SHARED}},
		{"data", []string{"size=64k", "mode=1777", "huge"}, Options{Data: []kernel.Param{{Key: "size", Value: "64k"}, {Key: "mode", Value: "1777"}, {Key: "huge", Flag: true}}}},
		{"super block", []string{"sync", "lazytime"}, Options{Super: []string{"sync", "lazytime"}}},
		{"ids and copy", []string{"ridmap", "tmpcopyup"}, Options{IDMap: true, RecIDMap: true, CopyUp: true}},
	} {
		got, err := ParseOptions(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if _, err := ParseOptions([]string{"remount"}); err == nil {
		t.Error("remount was taken")
	}
}
