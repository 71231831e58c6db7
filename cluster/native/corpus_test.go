//go:build linux

package native

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/klkube/kl/cluster"
)

// TestBadNodeFiles reads what the driver and runc keep of a node in every state that it can be damaged to: the answer is one line
// that names the file, in words.
func TestBadNodeFiles(t *testing.T) {
	b := bundle{filepath.Join(t.TempDir(), "embedded", "c", "n1")}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(record{
		Spec: cluster.NodeSpec{Cluster: "c", Name: "n1"}, Addr: netip.MustParseAddr("10.0.0.2"), Subnet: netip.MustParsePrefix("10.0.0.0/24"),
	})
	if err != nil {
		t.Fatal(err)
	}
	config := func(annotation string) string {
		text, err := json.Marshal(map[string]any{"annotations": map[string]string{recordAnnotation: annotation}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	good := config(string(encoded))
	if err := os.WriteFile(b.config(), []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.read(); err != nil {
		t.Fatal(err)
	}
	bad := []string{"", " ", "\x00", "hello", "null", "7", `"x"`, "[]", "{}", "[[[[", `{"annotations":7}`, `{"annotations":[]}`, `{"annotations":{"a":7}}`, `{"annotations":{}}`, good + "x"}
	for n := 1; n < len(good); n += 3 {
		bad = append(bad, good[:n])
	}
	for _, annotation := range []string{"", "7", "[]", "{}", `{"spec":7}`, `{"spec":{"name":7}}`, `{"addr":"x"}`, `{"addr":7}`, `{"subnet":"1.2.3.4/99"}`, `{"created":"yesterday"}`, strings.Replace(string(encoded), `"c"`, `"d"`, 1), strings.Replace(string(encoded), `"n1"`, `"../n1"`, 1), strings.Repeat("[", 20_000)} {
		bad = append(bad, config(annotation))
	}
	for _, text := range bad {
		if err := os.WriteFile(b.config(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := b.read()
		checkDamage(t, text, b.config(), err)
	}
	state := filepath.Join(t.TempDir(), "n1", "state.json")
	if err := os.Mkdir(filepath.Dir(state), 0o700); err != nil {
		t.Fatal(err)
	}
	r := runc{root: filepath.Dir(filepath.Dir(state))}
	for _, text := range []string{"", "\x00", "hello", "7", "[]", `"x"`, "{", `{"init_process_pid":"1"}`, `{"init_process_pid":1e99}`, `{"init_process_start":-1}`, `{"cgroup_paths":[]}`, `{"cgroup_paths":{"":7}}`} {
		if err := os.WriteFile(state, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := r.container("n1")
		checkDamage(t, text, state, err)
	}
	for what, put := range map[string]func(string) error{
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"100 MB": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 100<<20))
		},
		"a loop": func(path string) error { return os.Symlink(path, path) },
	} {
		for _, path := range []string{b.config(), state} {
			if err := errors.Join(os.RemoveAll(path), put(path)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := b.read()
		checkDamage(t, what, b.config(), err)
		_, err = r.container("n1")
		checkDamage(t, what, state, err)
	}
	t.Logf("%d files", len(bad)+20)
}

func checkDamage(t *testing.T, what, path string, err error) {
	t.Helper()
	insides := regexp.MustCompile(`\bGo (value|struct)|cannot unmarshal|[^.]json: |\n`)
	if err == nil || !strings.Contains(err.Error(), path) || insides.MatchString(err.Error()) {
		t.Errorf("%.100q: %v, want one line that names %s", what, err, path)
	}
}
