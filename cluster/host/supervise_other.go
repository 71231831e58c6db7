//go:build !linux

package host

import "syscall"

func endsWithParent() *syscall.SysProcAttr { return nil }
