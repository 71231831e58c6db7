package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// listenFD is the first file descriptor that a program is given by the protocol of sd_listen_fds(3).
const listenFD = 3

// listen listens on a TCP address and becomes a program, which takes connections from file descriptor 3 (sd_listen_fds(3)). So those who
// connect before a large program has started wait for it and are not refused. It returns only if that fails.
func listen(args []string) error {
	if len(args) < 2 {
		return errors.New("listen: want an address, and a program with its arguments")
	}
	address, program := args[0], args[1:]
	if _, err := os.Stat(program[0]); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	if err := keep(int(f.Fd())); err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	env := append(os.Environ(), "LISTEN_FDS=1", "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	if err := syscall.Exec(program[0], program, env); err != nil {
		return fmt.Errorf("run %s: %w", program[0], err)
	}
	return nil
}

// keep makes a file the one that the next program finds as listenFD.
func keep(fd int) error {
	if fd != listenFD {
		return syscall.Dup3(fd, listenFD, 0)
	}
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, listenFD, syscall.F_SETFD, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
