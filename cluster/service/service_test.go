package service

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

var update = flag.Bool("update", false, "write golden files")

func system() Manager {
	return Manager{Program: "/usr/local/bin/kl", Target: "multi-user.target", Environ: []string{"HOME=/root"}}
}

func odd() Manager {
	return Manager{Program: `/opt/100% of $x/kl`, Target: "default.target", User: "ann",
		Environ: []string{"DOCKER_HOST=unix:///run/user/1000/docker.sock", "HOME=/home/ann"}}
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    Manager
		l    cluster.Layout
	}{
		{"system", system(), cluster.Home("/root/.kl").Cluster("kl")},
		{"user", odd(), cluster.Home("/home/ann/my 100% kl").Cluster("big")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join("testdata", tt.name+".service")
			got := tt.m.Text(tt.l)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("unit (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVerify has systemd read the units, with a program of every kind of character that exists.
func TestVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: no systemd-analyze here: the units are not verified")
	}
	for _, m := range []Manager{system(), odd()} {
		dir := t.TempDir()
		m.Program = filepath.Join(dir, m.Program)
		if err := os.MkdirAll(filepath.Dir(m.Program), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.Program, []byte("#!/bin/sh\n"), 0o755); err != nil { //nolint:gosec // it is a program
			t.Fatal(err)
		}
		verify := func(text string) string {
			path := filepath.Join(dir, "kl-demo.service")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			scope := "--system"
			if m.User != "" {
				scope = "--user"
			}
			cmd := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", scope, path)
			cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
			out, err := cmd.CombinedOutput()
			var lines []string // what concerns our unit: a machine's own units may have faults too
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "kl-demo") {
					lines = append(lines, line)
				}
			}
			if err != nil && len(lines) == 0 {
				t.Skipf("SKIPPED: systemd-analyze does not work here: %v: %s", err, out)
			}
			return strings.Join(lines, "")
		}
		text := m.Text(cluster.Home(dir).Cluster("demo"))
		if said := verify(text); said != "" {
			t.Errorf("%s\nsystemd-analyze says:\n%s", text, said)
		}
		if said := verify(strings.Replace(text, "ExecStart=", "ExecStrat=", 1)); said == "" {
			t.Error("systemd-analyze finds nothing wrong with a broken unit: this test proves nothing")
		}
	}
}

func TestSet(t *testing.T) {
	for _, tt := range []struct {
		name      string
		user      string
		have      []string // paths below the root
		fail      error    // of systemctl
		wantCalls []string
		wantNote  string
	}{
		{name: "no systemd", wantNote: "systemd does not run"},
		{name: "system", have: []string{"run/systemd/system"}, wantCalls: []string{"daemon-reload", "daemon-reload"}},
		{name: "user", user: "ann", have: []string{"run/systemd/system"},
			wantCalls: []string{"--user daemon-reload", "--user daemon-reload"}, wantNote: "loginctl enable-linger ann"},
		{name: "lingering user", user: "ann", have: []string{"run/systemd/system", "var/lib/systemd/linger/ann"},
			wantCalls: []string{"--user daemon-reload", "--user daemon-reload"}},
		{name: "no bus", have: []string{"run/systemd/system"}, fail: errors.New("no bus"),
			wantCalls: []string{"daemon-reload", "daemon-reload"}, wantNote: "no bus"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := system()
			m.Root, m.User = t.TempDir(), tt.user
			m.UnitDir = filepath.Join(m.Root, "etc/systemd/system")
			for _, dir := range tt.have {
				if err := os.MkdirAll(filepath.Join(m.Root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var calls []string
			m.Systemctl = func(_ context.Context, args ...string) error {
				calls = append(calls, strings.Join(args, " "))
				return tt.fail
			}
			l := cluster.Home("/home/kl").Cluster("demo")
			got, err := m.Set(t.Context(), l, true)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.Note, tt.wantNote) || (tt.wantNote == "") != (got.Note == "") || strings.Contains(got.Note, "\n") {
				t.Errorf("note %q, want one line with %q", got.Note, tt.wantNote)
			}
			link := filepath.Join(m.UnitDir, "multi-user.target.wants", "kl-demo.service")
			if text, err := os.ReadFile(link); err != nil || string(text) != m.Text(l) {
				t.Errorf("enabled unit is %q, %v", text, err)
			}
			if _, err := m.Set(t.Context(), cluster.Home("/other").Cluster("demo"), true); err == nil {
				t.Error("the unit of another KL_HOME was overwritten")
			}
			if _, err := m.Set(t.Context(), cluster.Home("/other").Cluster("demo"), false); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(got.Path); err != nil {
				t.Errorf("another KL_HOME removed the unit: %v", err)
			}
			for range 2 { // the second time there is nothing to do
				if _, err := m.Set(t.Context(), l, false); err != nil {
					t.Error(err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(m.UnitDir, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if !slices.Equal(calls, tt.wantCalls) {
				t.Errorf("systemctl was called with %q, want %q", calls, tt.wantCalls)
			}
		})
	}
}

func TestSetCannotWrite(t *testing.T) {
	m := system()
	m.Root = t.TempDir()
	m.UnitDir = filepath.Join(m.Root, "file", "units")
	if err := os.WriteFile(filepath.Join(m.Root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := m.Set(t.Context(), cluster.Home("/home/kl").Cluster("demo"), true)
	var said *cluster.Error
	if !errors.As(err, &said) || !strings.Contains(said.Hint, "kl start --name demo") {
		t.Errorf("error is %v, want one that says what to do instead", err)
	}
}

func TestKept(t *testing.T) {
	got := kept([]string{"PATH=/bin", "HOME=/root", "DOCKER_HOST=tcp://1.2.3.4:1", "KUBECONFIG=", "KL_HOME=/x", "AWS_SECRET=x", "SSL_CERT_FILE=/ca"})
	if diff := cmp.Diff([]string{"DOCKER_HOST=tcp://1.2.3.4:1", "HOME=/root", "SSL_CERT_FILE=/ca"}, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}
