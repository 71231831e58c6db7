//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

// screen is a terminal with a program in it, emulated by tmux.
type screen struct {
	socket string
	env    []string
	seen   time.Time // when the last "screen sees" was satisfied
}

// screenCommand plays a person at a terminal:
//
//	screen start COLSxLINES PROGRAM ARGS…   a terminal with the program in it, until the end of the script
//	screen keys KEY…                        presses keys by their tmux names; =TEXT is typed literally
//	[!] screen sees TIMEOUT REGEXP          waits until the screen matches, or with ! does not; ^ and $ match at lines
//	screen press TIMEOUT KEY REGEXP         presses the key every second until the screen matches
//	screen size COLSxLINES                  resizes the terminal
//	screen denial LIMIT POLICY              fails unless the last "sees" matched within LIMIT of the policy's first denial
func screenCommand(ts *testscript.TestScript, neg bool, args []string) {
	s := scriptOf(ts)
	if len(args) < 2 || neg && args[0] != "sees" {
		ts.Fatalf("usage: screen start|keys|sees|press|size|denial ARGS…")
	}
	if args[0] == "start" {
		s.screen = startScreen(ts, args[1], args[2:])
		return
	}
	if s.screen == nil {
		ts.Fatalf("screen %s needs a \"screen start\" before it", args[0])
	}
	switch args[0] {
	case "keys":
		for _, key := range args[1:] {
			ts.Check(s.screen.press(key))
		}
	case "sees":
		s.screen.wait(ts, args[1], args[2], neg, "")
	case "press":
		s.screen.wait(ts, args[1], args[3], false, args[2])
	case "size":
		cols, lines, _ := strings.Cut(args[1], "x")
		_, err := s.screen.tmux("resize-window", "-t", "t", "-x", cols, "-y", lines)
		ts.Check(err)
	case "denial":
		limit, err := time.ParseDuration(args[1])
		ts.Check(err)
		happened, err := firstDenial(cluster.Home(ts.Getenv("KL_HOME")).Cluster(ts.Getenv("CLUSTER")), args[2])
		ts.Check(err)
		took := s.screen.seen.Sub(happened)
		ts.Logf("a denial was on the screen after %d ms", took.Milliseconds())
		if took > limit {
			ts.Fatalf("the denial was on the screen after %s, more than %s", took, limit)
		}
	default:
		ts.Fatalf("unknown command: screen %s", args[0])
	}
}

func startScreen(ts *testscript.TestScript, size string, program []string) *screen {
	dir, err := os.MkdirTemp("", "kltmux") // short: the path of a socket has a limit
	ts.Check(err)
	s := &screen{socket: dir + "/s", env: append(os.Environ(), "TERM=screen-256color", "LC_ALL=C.UTF-8")}
	for _, name := range []string{"KL_HOME", "KUBECONFIG", "CLUSTER", "NS", "PATH", "HOME"} {
		s.env = append(s.env, name+"="+ts.Getenv(name))
	}
	ts.Defer(func() {
		_, _ = s.tmux("kill-server")
		_ = os.RemoveAll(dir)
	})
	cols, lines, _ := strings.Cut(size, "x")
	// The sleep keeps the program's last output on the screen.
	line := strings.Join(program, " ") + "; echo exit code $?; exec sleep 600"
	out, err := s.tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", cols, "-y", lines, line)
	if err != nil {
		ts.Fatalf("start tmux: %v\n%s", err, out)
	}
	return s
}

func (s *screen) tmux(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-u", "-S", s.socket}, args...)...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *screen) press(key string) error {
	args := []string{"send-keys", "-t", "t", key}
	if text, ok := strings.CutPrefix(key, "="); ok {
		args = []string{"send-keys", "-t", "t", "-l", text}
	}
	if out, err := s.tmux(args...); err != nil {
		return fmt.Errorf("press %s: %w\n%s", key, err, out)
	}
	return nil
}

// wait waits until the screen matches. If key is not empty, it presses the key before each look.
func (s *screen) wait(ts *testscript.TestScript, timeout, pattern string, neg bool, key string) {
	limit, err := time.ParseDuration(timeout)
	ts.Check(err)
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	for began := time.Now(); ; {
		if key != "" {
			ts.Check(s.press(key))
		}
		frame, err := s.tmux("capture-pane", "-p", "-t", "t")
		ts.Check(err)
		if re.MatchString(frame) != neg {
			s.seen = time.Now()
			return
		}
		if time.Since(began) > limit {
			ts.Fatalf("not within %s: %s\n%s", limit, pattern, frame)
		}
		if key != "" {
			time.Sleep(time.Second)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// firstDenial returns when a policy first denied a connection, according to the nodes.
func firstDenial(l cluster.Layout, of string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client := cluster.NewClient(l)
	defer client.Close()
	var first time.Time
	for _, node := range []string{"n1", "n2"} {
		resp, err := client.Node(ctx, node, http.MethodGet, policy.DenialsPath, nil)
		if err != nil {
			return first, err
		}
		defer resp.Body.Close()
		for dec := json.NewDecoder(resp.Body); ; {
			var d policy.Denial
			if err := dec.Decode(&d); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return first, err
			}
			if slices.Contains(d.Policies, of) && (first.IsZero() || d.Time.Before(first)) {
				first = d.Time
			}
		}
	}
	if first.IsZero() {
		return first, errors.New("no node has recorded a denial")
	}
	return first, nil
}
