package kernel

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func addressMessage(index uint32, scope, flags byte, attributes ...[]byte) []byte {
	m := make([]byte, unix.SizeofIfAddrmsg)
	m[0], m[1], m[2], m[3] = unix.AF_INET, 24, flags, scope
	binary.NativeEndian.PutUint32(m[4:], index)
	return append(m, bytes.Join(attributes, nil)...)
}

func TestKeepAddress(t *testing.T) {
	local, label := attribute(unix.IFA_LOCAL, []byte{198, 51, 100, 7}), attribute(unix.IFA_LABEL, []byte("eth0\x00"))
	permanent := attribute(unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, unix.IFA_F_PERMANENT))
	leased := attribute(unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, 0))
	for name, c := range map[string]struct {
		message, want []byte
	}{
		"permanent":         {addressMessage(3, 0, unix.IFA_F_PERMANENT, local, label), addressMessage(3, 0, unix.IFA_F_PERMANENT, local)},
		"flags of 32 bits":  {addressMessage(3, 0, 0, label, local, permanent), addressMessage(3, 0, 0, local, permanent)},
		"another device's":  {addressMessage(4, 0, unix.IFA_F_PERMANENT, local), nil},
		"of the link alone": {addressMessage(3, unix.RT_SCOPE_LINK, unix.IFA_F_PERMANENT, local), nil},
		"leased":            {addressMessage(3, 0, unix.IFA_F_PERMANENT, local, leased), nil},
		"cut":               {addressMessage(3, 0, unix.IFA_F_PERMANENT, local)[:6], nil},
		"attribute cut":     {addressMessage(3, 0, unix.IFA_F_PERMANENT, local)[:unix.SizeofIfAddrmsg+6], nil},
	} {
		if got := keepAddress(c.message, 3); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", name, got, c.want)
		}
	}
}

func FuzzKeepAddress(f *testing.F) {
	f.Add(addressMessage(3, 0, unix.IFA_F_PERMANENT, attribute(unix.IFA_LOCAL, []byte{198, 51, 100, 7})))
	f.Fuzz(func(t *testing.T, message []byte) {
		if kept := keepAddress(message, 3); len(kept) > len(message)+3*(len(message)/4+1) {
			t.Errorf("%d bytes of %d", len(kept), len(message))
		}
	})
}
