package cmd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// auditEvent is an event of an audit log, as the API server writes it.
func auditEvent(at time.Time, user, verb, object, stage string, code int) string {
	ref := ""
	if parts := strings.Split(object, " "); len(parts) == 5 { // group resource subresource namespace name
		for i, p := range parts {
			parts[i] = strings.Trim(p, "-")
		}
		ref = fmt.Sprintf(`"objectRef":{"apiGroup":%q,"resource":%q,"subresource":%q,"namespace":%q,"name":%q},`, parts[0], parts[1], parts[2], parts[3], parts[4])
	}
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":%q,"requestURI":"/livez?x","verb":%q,"user":{"username":%q},"sourceIPs":["127.0.0.1"],`+
		`"userAgent":"kubectl/v1 \u001b[31m(x)",%s"responseStatus":{"code":%d},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`,
		stage, verb, user, ref, code, at.Add(-12*time.Millisecond).UTC().Format(time.RFC3339Nano), at.UTC().Format(time.RFC3339Nano))
}

func TestAudit(t *testing.T) {
	m := withCluster(t)
	path := m.env.Home.Cluster("kl").AuditLog()
	if _, stderr, code := m.run("audit"); code != exitFailed || !strings.Contains(stderr, "there is none yet") {
		t.Errorf("without a log: exit code %d, %q", code, stderr)
	}
	now := time.Now().Truncate(time.Millisecond)
	old, recent := now.Add(-3*time.Hour), now.Add(-time.Minute)
	const done = "ResponseComplete"
	rotated := auditEvent(old, "ann", "create", "apps deployments - shop web", done, 201) + "\n"
	events := []string{
		auditEvent(recent, "ann", "get", "- pods exec shop web-0", "ResponseStarted", 101),
		auditEvent(recent, "ann", "get", "- pods exec shop web-0", done, 101),
		auditEvent(recent, "bob", "list", "- pods - shop -", done, 200),
		auditEvent(recent, "bob\u202e", "get", "", done, 403),
		auditEvent(recent, "system:node:n1", "patch", "- nodes - - n1", done, 200),
	}
	text := "\x00\x00\n" + strings.Join(events, "\n") + "\n" + events[0][:50] + auditEvent(recent, "cut", "delete", "- secrets - shop s", done, 200) + "\n{\"kind\":\"Ev"
	err1 := os.WriteFile(strings.TrimSuffix(path, ".log")+"-2026-01-01T00-00-00.000.log", []byte(rotated), 0o600)
	if err2 := os.WriteFile(path, []byte(text), 0o600); err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	m.must("stop")
	lines := []string{
		old.Format("2006-01-02 15:04:05.000") + "  ann  create  deployments shop/web  201  12ms  127.0.0.1 kubectl",
		"  ann  get  pods/exec shop/web-0  101  12ms  127.0.0.1 kubectl",
		"  bob  list  pods shop/  200  12ms  127.0.0.1 kubectl",
		"  bob  get  /livez  403  12ms  127.0.0.1 kubectl",
		"  system:node:n1  patch  nodes n1  200  12ms  127.0.0.1 kubectl",
		"  cut  delete  secrets shop/s  200  12ms  127.0.0.1 kubectl",
	}
	for i := range lines[1:] {
		lines[i+1] = recent.Format("2006-01-02 15:04:05.000") + lines[i+1]
	}
	const damaged = "2 of 9 lines are no audit events and were left out.\n"
	for _, tt := range []struct {
		flags string
		want  []int
	}{
		{"", []int{0, 1, 2, 3, 4, 5}}, {"--since 1h", []int{1, 2, 3, 4, 5}}, {"--user ann", []int{0, 1}}, {"--user an", nil},
		{"--verb create,delete", []int{0, 5}}, {"--verb list --verb patch", []int{2, 4}}, {"-n shop", []int{0, 1, 2, 5}}, {"-n n1", nil},
		{"--resource pods", []int{1, 2}}, {"--resource pods/exec", []int{1}}, {"--resource pods/log", nil},
		{"--resource deployments.apps", []int{0}}, {"--resource deployments.batch", nil}, {"--resource nodes --user bob", nil},
	} {
		stdout, stderr, code := m.run(append([]string{"audit"}, strings.Fields(tt.flags)...)...)
		want, told := "", damaged
		for _, i := range tt.want {
			want += lines[i] + "\n"
		}
		if want == "" {
			told += "No request matches.\n"
		}
		if diff := cmp.Diff(want, stdout); diff != "" || stderr != told || code != exitOK {
			t.Errorf("audit %s: exit code %d, %q (-want +got):\n%s", tt.flags, code, stderr, diff)
		}
	}
	if got, want := m.must("audit", "-o", "json", "--user", "ann"), rotated+events[0]+"\n"+events[1]+"\n"; got != want {
		t.Errorf("events (-want +got):\n%s", cmp.Diff(want, got))
	}
	m.must("down")
	if _, stderr, code := m.run("audit"); code != exitFailed || !strings.HasPrefix(stderr, "kl: find cluster kl:") {
		t.Errorf("without a cluster: exit code %d, %q", code, stderr)
	}
}

func TestAuditFollows(t *testing.T) {
	m := withCluster(t)
	path := m.env.Home.Cluster("kl").AuditLog()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	e := newEnv(m.env)
	e.Out, e.name = w, "kl"
	ended := make(chan error, 1)
	go func() {
		ended <- audit(ctx, e, auditFlags{follow: true, user: "ann"}, time.Now())
		w.Close()
	}()
	put := func(to, user string) {
		f, err := os.OpenFile(to, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := fmt.Fprintln(f, auditEvent(time.Now(), user, "get", "", "ResponseComplete", 200)); err != nil {
			t.Fatal(err)
		}
	}
	out := bufio.NewScanner(r)
	for i := range 3 {
		put(path, "bob")
		put(path, "ann")
		if i == 1 {
			if err := os.Rename(path, strings.TrimSuffix(path, ".log")+time.Now().Add(time.Second).UTC().Format("-2006-01-02T15-04-05.000.log")); err != nil {
				t.Fatal(err)
			}
		}
		if !out.Scan() || !strings.Contains(out.Text(), "  ann  get  /livez  200") {
			t.Fatalf("%q, %v", out.Text(), out.Err())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// What is in the place of the log is named in a line, and nothing waits for it.
func TestAuditOfOddFiles(t *testing.T) {
	m := withCluster(t)
	l := m.env.Home.Cluster("kl")
	for what, put := range oddKinds() {
		if err := os.RemoveAll(l.AuditLog()); err != nil {
			t.Fatal(err)
		}
		if err := put(l.AuditLog()); err != nil {
			t.Logf("SKIPPED: %s: %v", what, err)
			continue
		}
		m.answer("audit.log is "+what, l.AuditLog(), "", []int{exitOK, exitFailed}, "audit")
	}
}
