package clustertest

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klkube/kl/cluster"
)

// initScript stands in for kl-init: it ends on SIGTERM, and fails at once if NodeDir has a file "fail".
const initScript = `#!/bin/sh
trap 'exit 0' TERM
if [ -e /kl/node/fail ]; then
	echo "first line"
	cat /kl/node/fail >&2
	exit 3
fi
echo "$(hostname) is up"
while :; do sleep 3600 & wait $!; done
`

// SmallPayload makes a payload whose nodes start in no time: a static busybox, and a shell script as init. Without a static
// busybox on this machine the test is skipped. A file "fail" in NodeDir makes the node print it and exit.
func SmallPayload(t *testing.T, sha string) cluster.Payload {
	t.Helper()
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("SKIPPED: no busybox on this machine (Debian: busybox-static)")
	}
	p := cluster.Payload{SHA: sha, Dir: t.TempDir()}
	p.Rootfs = filepath.Join(p.Dir, "rootfs")
	p.Engine = filepath.Join(p.Rootfs, "usr/local/bin/kl-engine")
	p.Runc = filepath.Join(p.Rootfs, "usr/local/bin/runc")
	for _, dir := range []string{"bin", "etc", "proc", "sys", "dev", "run", "tmp", "var/lib", "kl/run", "kl/node", "usr/local/bin"} {
		must(t, os.MkdirAll(filepath.Join(p.Rootfs, dir), 0o755))
	}
	copyFile(t, box, filepath.Join(p.Rootfs, "bin/busybox"))
	for _, name := range []string{"sh", "true", "false", "echo", "hostname", "cat", "tee", "stty", "sleep", "dd", "timeout", "ip", "ping", "id", "mount", "nc", "nslookup", "wget", "httpd"} {
		must(t, os.Symlink("busybox", filepath.Join(p.Rootfs, "bin", name)))
	}
	must(t, os.WriteFile(filepath.Join(p.Rootfs, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(p.Rootfs, "usr/local/bin/kl-init"), []byte(initScript), 0o755))
	if runc, err := exec.LookPath("runc"); err == nil {
		must(t, os.Symlink(runc, p.Runc))
	}
	return p
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, err)
	must(t, out.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
