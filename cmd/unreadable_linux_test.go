package cmd

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnreadableClusters looks at clusters of root as another user: what may not be read is said, and never taken for stopped.
func TestUnreadableClusters(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can look as another user")
	}
	m := withCluster(t)
	l := m.env.Home.Cluster("kl")
	for name, secret := range map[string]string{"the run directory": l.RunDir(), "the cluster": l.Dir()} {
		open(t, m.env.UserHome, secret)
		var stdout, stderr string
		var code int
		asNobody(t, func() { stdout, stderr, code = m.run("list") })
		if code != exitOK || !strings.Contains(stdout, "Unknown") || !strings.Contains(stderr, "kl: ") || !strings.Contains(stderr, secret) || !strings.Contains(stderr, "permission denied") {
			t.Errorf("%s: list: exit code %d\n%s%s", name, code, stdout, stderr)
		}
		asNobody(t, func() { stdout, _, code = m.run("status") })
		if code != exitOK || !strings.Contains(stdout, "Unknown") || !strings.Contains(stdout, "permission denied") {
			t.Errorf("%s: status: exit code %d\n%s", name, code, stdout)
		}
	}
}

// open makes everything below a directory readable for everybody, but for one directory.
func open(t *testing.T, dir, secret string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() && !e.Type().IsRegular() {
			return err
		}
		mode := os.FileMode(0o755)
		if path == secret {
			mode = 0o700
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// asNobody calls f with the rights to files of the user nobody.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread() // the rights are the thread's
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setfsuid(0); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}
