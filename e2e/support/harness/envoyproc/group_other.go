//go:build unix && !linux

package envoyproc

import "syscall"

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true} // only Linux can tie a child's life to its parent's
}
