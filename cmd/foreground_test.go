package cmd

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

// A service manager is told when the cluster is ready, and has a process that ends with the cluster.
func TestStartInTheForeground(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, m *machine)
		code int
		want string // on standard error
	}{
		{"stop", func(_ *testing.T, m *machine) { m.must("stop") }, exitOK, ""},
		{"death", func(t *testing.T, m *machine) {
			s, alive, err := cluster.ReadSupervision(m.env.Home.Cluster("kl"))
			if err != nil || !alive || syscall.Kill(s.PID, syscall.SIGKILL) != nil {
				t.Errorf("supervisor %+v, %t, %v", s, alive, err)
			}
		}, exitFailed, "kl: run cluster kl: its supervisor was killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.must("up", "--nodes", "0")
			m.must("stop")
			socket := filepath.Join(m.env.UserHome, "notify")
			systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer systemd.Close()
			m.env.Getenv = func(name string) string {
				if name == "NOTIFY_SOCKET" {
					return socket
				}
				return ""
			}
			type result struct {
				stderr string
				code   int
			}
			ended := make(chan result, 1)
			go func() {
				_, stderr, code := m.run("start", "--foreground")
				ended <- result{stderr, code}
			}()
			message := make([]byte, 100)
			if err := systemd.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := systemd.Read(message)
			if err != nil || string(message[:n]) != "READY=1" {
				t.Errorf("systemd was told %q, %v", message[:n], err)
			}
			select {
			case r := <-ended:
				t.Errorf("it ended while the cluster runs: %+v", r)
			case <-time.After(time.Second):
			}
			tt.end(t, m)
			if r := <-ended; r.code != tt.code || !strings.Contains(r.stderr, tt.want) {
				t.Errorf("%+v, want exit code %d and %q", r, tt.code, tt.want)
			}
		})
	}
}
