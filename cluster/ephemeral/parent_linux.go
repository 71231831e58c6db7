package ephemeral

import "syscall"

// endsWithParent has the kernel ask the command to end when the thread that started it does.
func endsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
