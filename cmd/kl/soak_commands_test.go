//go:build e2e

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	commandTimeout = 3 * time.Minute
	slowCommand    = 10 * time.Second // what it printed is logged
)

// command is kl with arguments for the cluster under test.
func (s *soak) command(args ...string) *exec.Cmd { return s.commandFor(s.name, args...) }

// commandFor is kl with arguments for a cluster.
func (s *soak) commandFor(name string, args ...string) *exec.Cmd {
	if args[0] == "up" && s.h.driver != "" {
		args = append(args, "--driver", s.h.driver)
	}
	if args[0] != "down" || args[len(args)-1] != "--all" {
		args = append([]string{"--name", name}, args...)
	}
	cmd := exec.Command(s.h.kl, args...)
	cmd.Env = append(os.Environ(), "KL_HOME="+s.home, "KUBECONFIG="+filepath.Join(s.home, "kubeconfig"))
	return cmd
}

// must runs kl and returns how long that took. It ends the test if kl fails.
func (s *soak) must(args ...string) time.Duration { return s.mustFor(s.name, args...) }

func (s *soak) mustFor(name string, args ...string) time.Duration {
	s.t.Helper()
	out, took, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("kl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return took
}

func (s *soak) try(name string, args ...string) (out string, took time.Duration, err error) {
	began := time.Now()
	cmd := s.commandFor(name, args...)
	stop := time.AfterFunc(commandTimeout, func() { _ = cmd.Process.Signal(syscall.SIGINT) })
	defer stop.Stop()
	text, err := cmd.CombinedOutput()
	took = time.Since(began)
	if err == nil {
		s.verbs[verb(args)] = took
	}
	if took > slowCommand {
		s.t.Logf("kl %s took %.1fs:\n%s", strings.Join(args, " "), took.Seconds(), text)
	}
	return string(text), took, err
}

// verb is the command without what it is about: "node add" of "node add n3".
func verb(args []string) string {
	if args[0] == "node" {
		return "node " + args[1]
	}
	return args[0]
}

// interrupt runs kl and kills it with SIGKILL at some time before it would be done. It returns when that was.
func (s *soak) interrupt(name string, args ...string) string {
	s.t.Helper()
	delay := s.between(0, max(s.verbs[verb(args)], time.Millisecond))
	cmd := s.commandFor(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			s.t.Fatalf("kl %s: %v\n%s", strings.Join(args, " "), err, &out)
		}
		return fmt.Sprintf("kl %s was done before", strings.Join(args, " "))
	case <-time.After(delay):
		_ = cmd.Process.Kill()
		<-ended
	}
	return fmt.Sprintf("kl %s killed after %s", strings.Join(args, " "), delay.Round(time.Millisecond))
}

// killUp kills the kl up of a second cluster. Then that is made after all or removed.
func (s *soak) killUp() outcome {
	up := []string{"up", "--nodes", "1"}
	what := s.interrupt(s.side, up...)
	var took time.Duration
	if s.rng.IntN(2) == 0 {
		took = s.mustFor(s.side, up...)
		what += ", up"
		s.mustFor(s.side, "down")
	} else {
		took = s.mustFor(s.side, "down")
		what += ", down"
	}
	return outcome{what: what, end: time.Now(), command: took}
}

func (s *soak) killDown() outcome {
	s.mustFor(s.side, "up", "--nodes", "1")
	what := s.interrupt(s.side, "down")
	took := s.mustFor(s.side, "down")
	return outcome{what: what, end: time.Now(), command: took}
}

// killStop kills kl stop. Then the cluster is stopped after all, or started from what there is.
func (s *soak) killStop() outcome {
	what := s.interrupt(s.name, "stop")
	if s.rng.IntN(2) == 0 {
		s.must("stop")
		what += ", stop"
	}
	took := s.must("start")
	return outcome{what: what + ", start", end: time.Now(), command: took}
}

// killStart kills kl start, or a kl up that does the same.
func (s *soak) killStart() outcome {
	s.must("stop")
	verb := "start"
	if s.rng.IntN(2) == 0 {
		verb = "up"
	}
	what := s.interrupt(s.name, verb)
	took := s.must(verb)
	return outcome{what: what, end: time.Now(), command: took}
}

// killNodeAdd kills kl node add. If that has made the node already, kl up completes what is missing.
func (s *soak) killNodeAdd() outcome {
	const node = "n3"
	what := s.interrupt(s.name, "node", "add", node)
	out, took, err := s.try(s.name, "node", "add", node)
	if err != nil && strings.Contains(out, "node exists") {
		took = s.must("up")
		what += ", exists, up"
	} else if err != nil {
		s.t.Fatalf("%s, again: %v\n%s", what, err, out)
	}
	s.nodes = append(s.nodes, node)
	return outcome{what: what, end: time.Now(), command: took, undo: func() {
		s.must("node", "remove", node)
		s.nodes = s.nodes[:len(s.nodes)-1]
	}}
}

// killNodeRemove kills kl node remove. If that was as good as done, the second one may say that there is no such node.
func (s *soak) killNodeRemove() outcome {
	const node = "n3"
	s.must("node", "add", node)
	what := s.interrupt(s.name, "node", "remove", node)
	out, took, err := s.try(s.name, "node", "remove", node)
	if err != nil && !strings.Contains(out, "has no such node") {
		s.t.Fatalf("%s, again: %v\n%s", what, err, out)
	}
	return outcome{what: what, end: time.Now(), command: took}
}

// eventually waits until f returns nil.
func (s *soak) eventually(what string, f func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), giveUp)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("%s: not within %s: %v", what, giveUp, err)
		case <-time.After(pollReady):
		}
	}
}
