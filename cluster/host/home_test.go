package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

func TestCheckHome(t *testing.T) {
	dir, err := os.MkdirTemp("", "kl") //nolint:usetesting // sockets need a shorter path than t.TempDir gives
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file, readOnly := filepath.Join(dir, "file"), filepath.Join(dir, "ro")
	write(t, file, "")
	if err := os.Mkdir(readOnly, 0o500); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{ // home: what the error says; empty for none
		"":                                  "neither KL_HOME nor HOME is set",
		file:                                "is a file, not a directory",
		file + "/below":                     "not a directory",
		readOnly:                            "is read-only",
		readOnly + "/a/b":                   "is read-only",
		dir + "/" + strings.Repeat("l", 90): "socket paths of",
	}
	for _, c := range []string{":", ",", "%", "#", "?", `"`, `\`, "\n", "\xff"} {
		tests[dir+"/a"+c+"b"] = "the path contains '"
	}
	for _, c := range []string{" ", "'", "$", "&", ";", "*", "=", "@", "ü"} {
		tests[dir+"/a"+c+"b"] = ""
	}
	for home, want := range tests {
		err := host.CheckHome(cluster.Home(home).Cluster("demo"), true)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", home, err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("something was made: %v, %v", entries, err)
	}
}

// After a run as root, the user's own kl says whose the directory is.
func TestCheckHomeOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can become another user")
	}
	dir, err := os.MkdirTemp("", "kl") //nolint:usetesting // t.TempDir is below a directory that others cannot enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := cluster.Home(filepath.Join(dir, ".kl")).Cluster("demo")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	check := func(want string, make bool) {
		t.Helper()
		if err := syscall.Setresuid(12345, 12345, 0); err != nil {
			t.Fatal(err)
		}
		err := host.CheckHome(l, make)
		if err := syscall.Setresuid(0, 0, 0); err != nil {
			t.Fatal(err)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	check("", false)
	check("directory "+dir+" belongs to root: permission denied", true)
	if err := os.MkdirAll(l.EtcdDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	check("directory "+string(l.Home)+" belongs to root: permission denied", false)
	for _, path := range []string{string(l.Home), l.Home.ClustersDir(), l.Dir()} {
		if err := os.Chown(path, 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	check("directory "+l.EtcdDir()+" belongs to root: permission denied", true)
}
