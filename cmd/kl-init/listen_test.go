package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestListen runs itself twice: as kl-init, and as the program that this becomes.
func TestListen(t *testing.T) {
	switch os.Getenv("KL_TEST_LISTEN") {
	case "init":
		t.Setenv("KL_TEST_LISTEN", "program")
		t.Fatal(listen([]string{"127.0.0.1:0", os.Args[0], "-test.run=TestListen"}))
	case "program":
		if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
			t.Fatalf("LISTEN_PID=%s LISTEN_FDS=%s in process %d", os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getpid())
		}
		l, err := net.FileListener(os.NewFile(listenFD, "socket"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if conn, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=TestListen", "-test.v")
	cmd.Env = append(os.Environ(), "KL_TEST_LISTEN=init")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range [][]string{nil, {":0"}, {"not an address", "/bin/true"}, {"127.0.0.1:0", "/no/such/program"}} {
		err := listen(args)
		if err == nil {
			t.Errorf("listen(%q) returned no error", args)
		}
		if len(args) == 2 && strings.HasPrefix(args[1], "/no") && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("listen(%q) = %v", args, err)
		}
	}
}
