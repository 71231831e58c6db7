//go:build !linux

package ephemeral

import "syscall"

// endsWithParent needs Linux: elsewhere a command outlives a kl that is killed.
func endsWithParent() *syscall.SysProcAttr { return nil }
