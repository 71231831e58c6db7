package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// module makes a module of a program and a package that Go's cache cannot have, and makes it the working directory.
func module(t *testing.T, statement string) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("GOFLAGS", "")
	unique := fmt.Sprintf("// %d\n", time.Now().UnixNano())
	for name, content := range map[string]string{
		"go.mod":         "module example.com/m\n\ngo 1.26\n",
		"answer/it.go":   unique + "package answer\n\nconst It = 42\n",
		"program/run.go": unique + "package main\n\nimport \"example.com/m/answer\"\n\nfunc main() {\n\t" + statement + "\n}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBuild(t *testing.T) {
	module(t, "println(answer.It)")
	b := build{packages: []string{"./..."}}
	before, err := b.stale(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(before) != 2 || before["example.com/m/answer"] <= perPackage {
		t.Errorf("packages to be built are %v, want the module's two and their sizes", before)
	}
	var said strings.Builder
	if err := run(t.Context(), []string{"-ldflags", "-s -w", "-o", "out/", "./..."}, &said, false); err != nil {
		t.Fatal(err)
	}
	if said.Len() > 0 {
		t.Errorf("a short build says %q, want nothing", said.String())
	}
	if out, err := exec.Command("out/program").CombinedOutput(); err != nil || string(out) != "42\n" {
		t.Errorf("the program says %q, %v", out, err)
	}
	after, err := b.stale(t.Context())
	if _, stays := after["example.com/m/answer"]; err != nil || stays {
		t.Errorf("after the build, packages to be built are %v, %v", after, err)
	}
}

func TestBuildErrors(t *testing.T) {
	for _, tt := range []struct{ name, statement, argument, want string }{
		{"of the compiler", "var unused = answer.It", "./...", "# example.com/m/program\nprogram/run.go:7:6: declared and not used: unused\n"},
		{"of go", "println(answer.It)", "./nowhere", "nowhere: directory not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			module(t, tt.statement)
			var said strings.Builder
			err := run(t.Context(), []string{tt.argument}, &said, false)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("error is %v, want exit code 1", err)
			}
			if !strings.Contains(said.String(), tt.want) {
				t.Errorf("says %q, want %q", said.String(), tt.want)
			}
			if strings.Contains(said.String(), "example.com/m/answer") {
				t.Errorf("says %q, which names a package that has no fault", said.String())
			}
		})
	}
}

// What is neither the name of a package nor of a module comes out whole.
func TestPassesOn(t *testing.T) {
	var said strings.Builder
	var helpers sync.WaitGroup
	b := build{progress: &progress{w: &said, now: time.Now}, compiling: func() {}}
	b.output(t.Context(), &helpers, strings.NewReader(`{"ImportPath":"a/b","Action":"build-output","Output":"a/b\n"}
{"ImportPath":"a/b","Action":"build-output","Output":"# a/b\n"}
{"ImportPath":"a/b","Action":"build-output","Output":"a/b"}
{"ImportPath":"a/b","Action":"build-fail"}
not JSON`))
	b.log(t.Context(), &helpers, strings.NewReader("warning\nerror: no end of line"))
	helpers.Wait()
	if want := "# a/b\na/bnot JSON\nwarning\nerror: no end of line\n"; said.String() != want {
		t.Errorf("says %q, want %q", said.String(), want)
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		p := &progress{w: &said, now: time.Now}
		shows := func(want string) {
			t.Helper()
			if got := p.text(); got != want {
				t.Errorf("shows %q, want %q", got, want)
			}
		}
		shows("")
		p.fetching(3)
		shows("fetching modules: 3")
		p.building("a")
		shows("compiling: 1 packages")
		p.expect(map[string]int64{"a": 1, "b": 100, "c": 200, "d": 1200})
		time.Sleep(10 * time.Second)
		shows("compiling: 1 of 4 packages")
		p.building("b")
		shows("compiling: 2 of 4 packages, about 2 min left")
		time.Sleep(20 * time.Second)
		p.building("c")
		p.building("not expected")
		shows("compiling: 4 of 5 packages, about 2 min left")
		time.Sleep(6 * time.Second)
		p.building("d")
		shows("compiled 5 packages, linking")

		p.show()
		p.live = true
		p.show()
		p.say("error\n")
		p.show()
		p.clear()
		p.clear()
		const text, erased = "compiled 5 packages, linking", "\r\x1b[K"
		if want := text + "\n" + text + erased + "error\n" + text + erased; said.String() != want {
			t.Errorf("wrote %q, want %q", said.String(), want)
		}
	})
}

func TestAbout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "10 s", 44 * time.Second: "40 s", 85 * time.Second: "90 s", 91 * time.Second: "2 min", 10*time.Minute + 29*time.Second: "10 min",
	} {
		if got := about(d); got != want {
			t.Errorf("about(%v) = %s, want %s", d, got, want)
		}
	}
}
