//go:build e2e

package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs the scripts in testdata/script with the real program and real nodes. Each is one promise to users.
//
//	make script NAME=two_nodes DRIVER=embedded
//
// KL_DRIVER is the driver of all clusters; if it is empty, kl chooses. Each script has its own home directory, KL_HOME and
// cluster name ($CLUSTER), and knows which version of Kubernetes clusters are of ($KUBERNETES). What it leaves behind is removed,
// and logged if the script failed. A script with the line "cluster 2" gets a running cluster of two nodes, which it shares with
// other scripts, and its own namespace ($NS) there.
// Scripts do not run in parallel, because some compare the state of the machine before and after.
func TestScript(t *testing.T) {
	h := newHarness(t)
	t.Setenv("GOTMPDIR", h.dir) // testscript leaves its directory if -run or -skip names scripts
	testscript.RunT(oneByOne{t}, testscript.Params{
		Dir:                 "../../testdata/script",
		Setup:               h.setup,
		Cmds:                h.commands(),
		Condition:           h.condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// oneByOne is a testing.T whose subtests do not run in parallel.
type oneByOne struct{ *testing.T }

func (o oneByOne) Parallel()     {}
func (o oneByOne) Verbose() bool { return testing.Verbose() }
func (o oneByOne) Run(name string, f func(testscript.T)) {
	o.T.Run(name, func(t *testing.T) { f(oneByOne{t}) })
}

// harness is what all scripts share.
type harness struct {
	t      testing.TB
	source string // the root of the source tree
	driver string // KL_DRIVER
	dir    string // short, because the path of a socket has a limit
	kl     string // the program under test
	bin    string // directory of the programs that scripts call: see writeTools

	images func() (string, error) // builds the test images on the first call and returns their directory
	shared sharedCluster
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	kl := os.Getenv("KL_BIN")
	if kl == "" {
		kl = filepath.Join(source, "bin", "kl")
	}
	if _, err := os.Stat(kl); err != nil {
		t.Fatalf("no kl to test, run make build first: %v", err)
	}
	dir, err := os.MkdirTemp("", "kle2e") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, source: source, driver: os.Getenv("KL_DRIVER"), dir: dir, kl: kl, bin: filepath.Join(dir, "bin")}
	last := enter(t)
	t.Cleanup(func() {
		h.discardShared()
		if last() {
			for _, image := range output("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "kl.test/*") {
				output("docker", "rmi", image)
			}
		}
		if err := removeTree(dir); err != nil {
			t.Errorf("remove what scripts left: %v", err)
		}
	})
	for _, d := range []string{h.bin, h.payload()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeTools(h.bin, kl, h.driver); err != nil {
		t.Fatal(err)
	}
	h.images = sync.OnceValues(h.makeImages)
	return h
}

// enter counts this run among those of the machine, which share the images in its container engine, until last is called. last reports
// whether no other run is left.
func enter(t testing.TB) (last func() bool) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "kl-e2e.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatalf("lock %s: %v", f.Name(), err)
	}
	return func() bool {
		defer f.Close()
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	}
}

// writeTools writes the programs that scripts call:
//
//	kl ARGS…    the program under test, with KL_DRIVER
//	old ARGS…   the kl of an older Kubernetes that KL_E2E_OLD is the path of
//	k ARGS…     kubectl on $CLUSTER, in namespace $NS
//	ready NODE  succeeds if the node is ready
//	stopped     succeeds if the control plane of $CLUSTER does not run
//	nodepid N   prints the ID of the first process of node N of $CLUSTER
//	ticks       prints the processor time used by control plane and node programs of $CLUSTER; 0 if there are none
//	as USER …   runs a program as a user that the command users has made
//	crash       kills all processes of $CLUSTER at once, as a power failure does
func writeTools(dir, kl, driver string) error {
	run := func(kl string) string {
		text := "exec " + kl + ` "$@"`
		if driver != "" {
			text = fmt.Sprintf("case $1 in up | run) verb=$1; shift; exec %s $verb --driver %s \"$@\" ;; esac\n", kl, driver) + text
		}
		return text
	}
	for name, text := range map[string]string{
		"kl":      run(kl),
		"old":     run(cmp.Or(os.Getenv("KL_E2E_OLD"), "false")),
		"k":       "exec " + kl + ` kubectl --name "$CLUSTER" --namespace "$NS" "$@"`,
		"ready":   kl + ` status --name "$CLUSTER" -o json | grep -A20 "\"name\": \"$1\"" | grep -q '"ready": true'`,
		"stopped": `f="$KL_HOME/clusters/$CLUSTER/run/control-plane.pid"; test ! -e "$f" || flock -n -s "$f" true`,
		"nodepid": nodePID,
		"ticks":   ticks,
		"crash":   crash,
		"as":      asUser,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// A node's processes are found by the node's directory, which every driver mounts into the node.
const (
	nodePID = `for f in $(grep -ls "/clusters/$CLUSTER/nodes/$1 " /proc/[0-9]*/mountinfo); do
	p=${f#/proc/}; p=${p%/mountinfo}
	grep -qs 'NSpid:.*[[:space:]]1$' /proc/$p/status && echo $p && exit 0
done
exit 1`
	ticks = `for p in $(cat "$KL_HOME/clusters/$CLUSTER/run/control-plane.pid" 2>/dev/null) \
	$(grep -ls "/clusters/$CLUSTER/nodes/" /proc/[0-9]*/mountinfo | cut -d/ -f3); do
	sed 's/.*) //' /proc/$p/stat 2>/dev/null
done | awk '{n += $12 + $13} END {print n + 0}'`
	crash = `for p in $(grep -lsa "supervise-control-plane.$KL_HOME/clusters/$CLUSTER." /proc/[0-9]*/cmdline | cut -d/ -f3) \
	$(grep -lsa "supervise-node.$KL_HOME/embedded/$CLUSTER/" /proc/[0-9]*/cmdline | cut -d/ -f3); do
	test $p = $$ || kill -9 $p 2>/dev/null || true # the list contains grep, which has ended
done
docker ps -q --filter label=dev.kl.cluster=$CLUSTER 2>/dev/null | xargs -r docker stop -t 1 >/dev/null
for p in $(nodepid n1) $(nodepid n2); do kill -9 $p 2>/dev/null || true; done
for i in $(seq 300); do
	nodepid n1 >/dev/null || nodepid n2 >/dev/null || ! stopped || exit 0
	sleep 0.1
done
exit 1`
)

// payload is the directory of payloads that all KL_HOMEs share, so that only the first script unpacks.
func (h *harness) payload() string { return filepath.Join(h.dir, "payload") }

// newHome makes a KL_HOME.
func (h *harness) newHome() (string, error) {
	home, err := os.MkdirTemp(h.dir, "h")
	if err != nil {
		return "", err
	}
	return home, os.Symlink(h.payload(), filepath.Join(home, "payload"))
}

// kubernetes returns the version that go.mod requires, such as v1.37.2: clusters are of no other.
func (h *harness) kubernetes() (string, error) {
	data, err := os.ReadFile(filepath.Join(h.source, "go.mod"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^\tk8s\.io/kubernetes (v\S+)`).FindSubmatch(data)
	if m == nil {
		return "", errors.New("go.mod does not require k8s.io/kubernetes")
	}
	return string(m[1]), nil
}

func (h *harness) setup(env *testscript.Env) error {
	home, err := h.newHome()
	if err != nil {
		return err
	}
	user := filepath.Join(env.WorkDir, "user")
	if err := os.MkdirAll(user, 0o700); err != nil {
		return err
	}
	kubernetes, err := h.kubernetes()
	if err != nil {
		return err
	}
	cluster := "e2e-" + strings.ToLower(rand.Text()[:6])
	env.Setenv("CLUSTER", cluster)
	env.Setenv("KUBERNETES", kubernetes)
	env.Setenv("KL", h.kl)
	env.Setenv("KL_HOME", home)
	env.Setenv("HOME", user)
	env.Setenv("KUBECONFIG", "")
	env.Setenv("MANIFESTS", filepath.Join(h.source, "testdata", "manifests"))
	env.Setenv("PATH", h.bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "XDG_RUNTIME_DIR", "KL_E2E_CROWDED", "KL_E2E_KILLS"} {
		if v := os.Getenv(name); v != "" {
			env.Setenv(name, v)
		}
	}
	s := &script{h: h, home: home, t: env.T().(oneByOne).T, listeners: listeners{}}
	env.Values[scriptKey{}] = s
	env.Defer(func() { s.cleanUp(env.Vars) })
	return nil
}

func (h *harness) condition(cond string) (bool, error) {
	if name, ok := strings.CutPrefix(cond, "driver:"); ok {
		driver := h.driver
		if driver == "" {
			driver = "embedded"
			if exec.Command("docker", "info").Run() == nil {
				driver = "docker"
			}
		}
		return driver == name, nil
	}
	switch cond {
	case "users": // can be made here
		return isRoot(), nil
	case "engine": // Docker, to build images with
		return exec.Command("docker", "info").Run() == nil, nil
	case "old": // see writeTools
		return os.Getenv("KL_E2E_OLD") != "", nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// makeImages builds the images of testdata/images, with the busybox of nodes.
func (h *harness) makeImages() (string, error) {
	out := filepath.Join(h.dir, "images")
	args := []string{"run", "./testdata/images/mkimages", "-out", out}
	if box, _ := filepath.Glob(filepath.Join(h.payload(), "*", "rootfs", "bin", "busybox")); len(box) > 0 {
		args = append(args, "-busybox", box[0])
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = h.source
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make images: %w\n%s", err, text)
	}
	return out, nil
}

// removeTree is os.RemoveAll for a tree that may contain directories without write permission.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = exec.Command("chmod", "-R", "u+w", dir).Run()
	return os.RemoveAll(dir)
}
