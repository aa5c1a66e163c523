package rootfs

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// Options is the meaning of a mount's list of options (runtime specification, config.md, mounts, Linux).
type Options struct {
	Set, Clear       uint64 // MOUNT_ATTR_ bits for the mount
	RecSet, RecClear uint64 // the same for it and all below
	Propagation      uint64 // unix.MS_PRIVATE, …; 0: not said
	PropagationRec   bool
	Bind, Recursive  bool
	IDMap, RecIDMap  bool
	CopyUp           bool           // tmpfs: begin with the content of the folder it covers
	Super            []string       // flags of a new file system: "sync", "dirsync", "lazytime", "mand"
	Data             []kernel.Param // everything else
}

type attr struct {
	bits  uint64
	clear bool
}

// attributes by option name; each with the prefix r is the recursive form.
var attributes = map[string]attr{
	"ro": {unix.MOUNT_ATTR_RDONLY, false}, "rw": {unix.MOUNT_ATTR_RDONLY, true},
	"nosuid": {unix.MOUNT_ATTR_NOSUID, false}, "suid": {unix.MOUNT_ATTR_NOSUID, true},
	"nodev": {unix.MOUNT_ATTR_NODEV, false}, "dev": {unix.MOUNT_ATTR_NODEV, true},
	"noexec": {unix.MOUNT_ATTR_NOEXEC, false}, "exec": {unix.MOUNT_ATTR_NOEXEC, true},
	"nodiratime": {unix.MOUNT_ATTR_NODIRATIME, false}, "diratime": {unix.MOUNT_ATTR_NODIRATIME, true},
	"nosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, false}, "symfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, true},
	"noatime": {unix.MOUNT_ATTR_NOATIME, false}, "atime": {unix.MOUNT_ATTR_NOATIME, true},
	"strictatime": {unix.MOUNT_ATTR_STRICTATIME, false}, "nostrictatime": {unix.MOUNT_ATTR_STRICTATIME, true},
	"relatime": {unix.MOUNT_ATTR__ATIME, true}, "norelatime": {0, false},
}

var propagations = map[string]uint64{"private": unix.MS_PRIVATE, "shared": unix.MS_SHARED, "slave": unix.MS_SLAVE, "unbindable": unix.MS_UNBINDABLE}

var superFlags = map[string]bool{"sync": true, "dirsync": true, "lazytime": true, "mand": true, "iversion": true}

// ignored say what is so anyway.
var ignored = map[string]bool{"defaults": true, "async": true, "nomand": true, "nolazytime": true, "noiversion": true, "loud": true, "silent": true, "notmpcopyup": true}

// ParseOptions reads a mount's options; of two that contradict each other the later counts.
func ParseOptions(options []string) (Options, error) {
	var o Options
	for _, opt := range options {
		if a, ok := attributes[opt]; ok {
			apply(a, &o.Set, &o.Clear)
			continue
		}
		if strings.HasPrefix(opt, "r") {
			if a, ok := attributes[opt[1:]]; ok {
				apply(a, &o.RecSet, &o.RecClear)
				continue
			}
			if p, ok := propagations[opt[1:]]; ok {
				o.Propagation, o.PropagationRec = p, true
				continue
			}
		}
		if p, ok := propagations[opt]; ok {
			o.Propagation, o.PropagationRec = p, false
			continue
		}
		switch {
		case opt == "bind":
			o.Bind = true
		case opt == "rbind":
			o.Bind, o.Recursive = true, true
		case opt == "idmap":
			o.IDMap = true
		case opt == "ridmap":
			o.IDMap, o.RecIDMap = true, true
		case opt == "tmpcopyup":
			o.CopyUp = true
		case opt == "remount":
			return o, fmt.Errorf("read mount options: remount is of no use in a new mount namespace")
		case superFlags[opt]:
			o.Super = append(o.Super, opt)
		case ignored[opt], opt == "":
		default:
			key, value, ok := strings.Cut(opt, "=")
			o.Data = append(o.Data, kernel.Param{Key: key, Value: value, Flag: !ok})
		}
	}
	return o, nil
}

// accessTimes are the bits that choose one of relatime (none of them), noatime and strictatime.
const accessTimes = unix.MOUNT_ATTR__ATIME

func apply(a attr, set, clear *uint64) {
	if a.bits&accessTimes != 0 {
		*set &^= accessTimes
		*clear |= accessTimes
		if !a.clear {
			*set |= a.bits
		}
		return
	}
	if a.clear {
		*clear |= a.bits
		*set &^= a.bits
		return
	}
	*set |= a.bits
	*clear &^= a.bits
}
