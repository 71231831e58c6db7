//go:build e2e

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// fault is one thing that goes wrong in a round.
type fault struct {
	name string
	end  string // what ends the fault: the time to Ready is counted from then
	on   func(*soak) bool
	run  func(*soak) outcome
}

// outcome is what a fault did.
type outcome struct {
	what    string // to whom, and when
	end     time.Time
	command time.Duration // of the command that was given again; 0 if none was
	undo    func()        // called once the cluster is Ready; may be nil
}

func allFaults() []fault {
	always := func(*soak) bool { return true }
	docker := func(s *soak) bool { return s.driver == cluster.DriverDocker }
	embedded := func(s *soak) bool { return s.driver == cluster.DriverEmbedded }
	asked := func(name string) func(*soak) bool { return func(*soak) bool { return os.Getenv(name) != "" } }
	return []fault{
		{"plane", "kill -9 of the control plane", always, (*soak).killPlane},
		{"supervisor", "kl start, after kill -9 of the control plane's supervisor", always, (*soak).killSupervisor},
		{"node-program", "kill -9 of kubelet, kube-proxy and agent", always, func(s *soak) outcome { return s.killInNode("node") }},
		{"containerd", "kill -9 of containerd", always, func(s *soak) outcome { return s.killInNode("containerd") }},
		{"node-supervisor", "kill -9 of the node's supervisor", embedded, (*soak).killNodeSupervisor},
		{"node", "kill -9 of the node's first process", always, func(s *soak) outcome { return s.killInNode("init") }},
		{"docker-kill", "docker kill of the node", docker, (*soak).dockerKill},
		{"partition", "kl node heal", always, (*soak).partition},
		{"up", "kl up or down of a second cluster, given again", always, (*soak).killUp},
		{"down", "kl down of a second cluster, given again", always, (*soak).killDown},
		{"stop", "kl start, after kl stop was killed", always, (*soak).killStop},
		{"start", "kl start or up, given again", always, (*soak).killStart},
		{"node-add", "kl node add, given again", always, (*soak).killNodeAdd},
		{"node-remove", "kl node remove, given again", always, (*soak).killNodeRemove},
		{"engine", "the engine answers after its restart", asked("SOAKENGINE"), (*soak).restartEngine},
		{"disk", "the disk has space again", asked("SOAKDISK"), (*soak).fillDisk},
	}
}

// chosen are the faults of SOAKFAULTS that are possible here.
func (s *soak) chosen() []fault {
	var names []string
	if v := os.Getenv("SOAKFAULTS"); v != "" {
		names = strings.Split(v, ",")
	}
	var found []fault
	for _, f := range allFaults() {
		if f.on(s) && (names == nil || slices.Contains(names, f.name)) {
			found = append(found, f)
		}
	}
	if len(found) == 0 || names != nil && len(found) != len(names) {
		s.t.Fatalf("SOAKFAULTS=%s: not all of these are possible here", os.Getenv("SOAKFAULTS"))
	}
	return found
}

func (s *soak) someNode() string { return s.nodes[s.rng.IntN(len(s.nodes))] }

// between returns a random time.
func (s *soak) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.rng.Int64N(int64(most-least)))
}

func (s *soak) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.t.Context().Done():
	}
}

func (s *soak) killPlane() outcome {
	pid, err := host.ControlPlanePID(s.layout)
	if err != nil || pid == 0 {
		s.t.Fatalf("find the control plane: process %d, %v", pid, err)
	}
	return outcome{what: fmt.Sprintf("process %d", pid), end: s.kill(pid)}
}

func (s *soak) killSupervisor() outcome {
	supervision, alive, err := cluster.ReadSupervision(s.layout)
	if err != nil || !alive || supervision.PID < 2 {
		s.t.Fatalf("find the supervisor: %+v, %v", supervision, err)
	}
	s.kill(supervision.PID)
	s.eventually("the control plane ends with its supervisor", func() error {
		if pid, err := host.ControlPlanePID(s.layout); err != nil || pid != 0 {
			return fmt.Errorf("process %d: %w", pid, err)
		}
		return nil
	})
	began := time.Now()
	took := s.must("start")
	return outcome{what: fmt.Sprintf("process %d", supervision.PID), end: began, command: took}
}

func (s *soak) killInNode(role string) outcome {
	node := s.someNode()
	return outcome{what: role + " of " + node, end: s.kill(s.nodeProcess(node, role))}
}

func (s *soak) killNodeSupervisor() outcome {
	node := s.someNode()
	arg := "supervise-node " + filepath.Join(s.home, "embedded", s.name, node)
	for _, p := range processesOf(s.home) {
		if id, line, _ := strings.Cut(p, " "); strings.HasSuffix(line, arg) {
			pid, err := strconv.Atoi(id)
			if err != nil {
				s.t.Fatal(err)
			}
			return outcome{what: "of " + node, end: s.kill(pid)}
		}
	}
	s.t.Fatalf("no process %q", arg)
	return outcome{}
}

func (s *soak) dockerKill() outcome {
	node := s.someNode()
	pid := s.nodeProcess(node, "init")
	if out, err := exec.Command("docker", "kill", s.name+"-"+node).CombinedOutput(); err != nil {
		s.t.Fatalf("docker kill: %v %s", err, out)
	}
	s.awaitDeath(pid)
	return outcome{what: node, end: time.Now()}
}

func (s *soak) partition() outcome {
	node, d := s.someNode(), s.between(100*time.Millisecond, 8*time.Second)
	s.must("node", "partition", node)
	s.wait(d)
	s.must("node", "heal", node)
	return outcome{what: fmt.Sprintf("%s for %s", node, d.Round(time.Millisecond)), end: time.Now()}
}

// restartEngine runs the command of SOAKENGINE.
func (s *soak) restartEngine() outcome {
	if out, err := exec.Command("sh", "-c", os.Getenv("SOAKENGINE")).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v %s", os.Getenv("SOAKENGINE"), err, out)
	}
	s.eventually("the engine answers", func() error { return exec.Command("docker", "version").Run() })
	return outcome{what: os.Getenv("SOAKENGINE"), end: time.Now()}
}

// Size of the file system that SOAKDISK puts KL_HOME on. Nodes of driver embedded have their data there.
const diskSize = "size=3g"

func (s *soak) mount() {
	payload, err := os.Readlink(filepath.Join(s.home, "payload"))
	if err != nil {
		s.t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", diskSize, "kl-soak", s.home).CombinedOutput(); err != nil {
		s.t.Fatalf("mount: %v %s", err, out)
	}
	if err := os.Symlink(payload, filepath.Join(s.home, "payload")); err != nil {
		s.t.Fatal(err)
	}
}

func (s *soak) unmount() {
	if os.Getenv("SOAKDISK") != "" {
		_ = exec.Command("umount", s.home).Run() // fails if mounting did
	}
}

// fillDisk fills the file system of KL_HOME to the last byte for a while, and has etcd write what it has no space for.
func (s *soak) fillDisk() outcome {
	filler := filepath.Join(s.home, "filler")
	f, err := os.Create(filler)
	if err != nil {
		s.t.Fatal(err)
	}
	for size := 64 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err == nil {
			continue
		} else if !errors.Is(err, syscall.ENOSPC) {
			s.t.Fatal(err)
		}
		size /= 16
	}
	d := s.between(time.Second, 10*time.Second)
	began := time.Now()
	ballast := s.writeBallast()
	s.wait(d - time.Since(began))
	if err := errors.Join(f.Close(), os.Remove(filler)); err != nil {
		s.t.Fatal(err)
	}
	what := fmt.Sprintf("full for %s, %d large ConfigMaps", d.Round(time.Millisecond), ballast)
	return outcome{what: what, end: time.Now(), undo: s.dropBallast}
}

const ballastLabel = "kl.test/ballast"

// writeBallast makes ConfigMaps as large as they may be until one is not acknowledged, or there are more than etcd has space for.
// It returns how many.
func (s *soak) writeBallast() (n int) {
	maps := s.client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	for ; n < 200; n++ {
		ctx, cancel := context.WithTimeout(s.t.Context(), writeTimeout)
		_, err := maps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "ballast-", Labels: map[string]string{ballastLabel: "true"}},
			Data:       map[string]string{"ballast": strings.Repeat("x", 1<<20-1<<10)},
		}, metav1.CreateOptions{})
		cancel()
		if err != nil {
			return n
		}
	}
	return n
}

func (s *soak) dropBallast() {
	err := s.client.CoreV1().ConfigMaps(metav1.NamespaceDefault).DeleteCollection(s.t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: ballastLabel})
	if err != nil {
		s.t.Fatal(err)
	}
}
