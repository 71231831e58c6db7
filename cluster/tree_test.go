package cluster_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Rules about the files of the source tree.

// trackedFiles lists the files that git has, or would have after `git add`, as slash-separated paths.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	files := strings.Fields(string(out))
	return slices.DeleteFunc(files, func(f string) bool {
		_, err := os.Stat(filepath.Join("..", f))
		return err != nil // removed, but not yet committed
	})
}

func readTree(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestEveryPackageHasTests fails for a package without a test file.
func TestEveryPackageHasTests(t *testing.T) {
	without := map[string]string{ // package: why it needs no tests
		"cluster/clustertest/answer": "a program of the driver contract, whose tests run it",
		"testdata/separate/etcd":     "upstream's etcd for a comparison of start times",
	}
	code, tests := map[string]bool{}, map[string]bool{}
	for _, f := range trackedFiles(t) {
		switch dir := filepath.ToSlash(filepath.Dir(f)); {
		case strings.HasSuffix(f, "_test.go"):
			tests[dir] = true
		case strings.HasSuffix(f, ".go"):
			code[dir] = true
		}
	}
	for dir := range code {
		if !tests[dir] && without[dir] == "" {
			t.Errorf("%s has no tests", dir)
		}
		delete(without, dir)
	}
	for dir := range without {
		t.Errorf("%s is listed as a package without tests, but is no package", dir)
	}
}

// TestTestdataIsUsed fails for a file below a testdata directory that nothing mentions: by its name, or by a pattern such
// as *.txtar for its directory. Whether a golden file of a table test still has its case is checked by that test.
func TestTestdataIsUsed(t *testing.T) {
	files := trackedFiles(t)
	var sources strings.Builder
	for _, f := range files {
		ext := filepath.Ext(f)
		program := ext == "" && (strings.HasPrefix(f, ".ci/") || f == "Makefile" || strings.HasPrefix(f, "testdata/"))
		if ext == ".go" || ext == ".txtar" || ext == ".md" || program {
			sources.WriteString(readTree(t, f))
		}
	}
	text := sources.String()
	for _, f := range files {
		parts := strings.Split(f, "/")
		i := slices.Index(parts, "testdata")
		if i < 0 || filepath.Ext(f) == ".go" || filepath.Ext(f) == ".txtar" { // packages, and what TestScript runs
			continue
		}
		below := parts[i+1:]
		switch {
		case strings.Contains(text, below[len(below)-1]): // its name
		case strings.Contains(text, "func "+strings.TrimSuffix(below[0], ".golden")+"("): // golden files of a test
		case readsByExtension(t, files, strings.Join(parts[:i], "/"), below[len(below)-1]):
		case below[0] == "tour": // of testdata/tour.TestScenarios
		case below[0] == "spec" && (filepath.Ext(f) == ".yaml" || exists("../"+strings.TrimSuffix(f, ".golden")+".yaml")): // of TestSpecs
		case below[0] == "convert": // inputs and golden files of TestConvert, which finds golden files without an input
		default:
			t.Errorf("nothing reads %s: delete it", f)
		}
	}
}

// readsByExtension reports whether a test of the package in dir puts the file's name together: it has both "name" and ".ext".
func readsByExtension(t *testing.T, files []string, dir, name string) bool {
	t.Helper()
	ext := filepath.Ext(name)
	return slices.ContainsFunc(files, func(f string) bool {
		if filepath.ToSlash(filepath.Dir(f)) != dir || !strings.HasSuffix(f, "_test.go") {
			return false
		}
		text := readTree(t, f)
		return strings.Contains(text, `"`+strings.TrimSuffix(name, ext)+`"`) && strings.Contains(text, ext+`"`)
	})
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// TestStampedVariables fails if the linker is told to set a variable that does not exist, which it ignores.
func TestStampedVariables(t *testing.T) {
	mains := map[string]string{"KL_LDFLAGS": "cmd/kl", "ENGINE_LDFLAGS": "cmd/kl-engine"}
	makefile := strings.ReplaceAll(readTree(t, "Makefile"), "\\\n", " ")
	for name, dir := range mains {
		flags := regexp.MustCompile(`(?m)^` + name + `\s*=(.*)$`).FindString(makefile)
		stamped := regexp.MustCompile(`-X main\.(\w+)=`).FindAllStringSubmatch(flags, -1)
		if len(stamped) == 0 {
			t.Errorf("the Makefile's %s sets no variable of main", name)
		}
		for _, m := range stamped {
			if !declares(t, dir, m[1]) {
				t.Errorf("the Makefile's %s sets main.%s, which %s does not have", name, m[1], dir)
			}
		}
	}
	release := readTree(t, ".goreleaser.yml")
	if strings.Contains(release, "-X ") || !strings.Contains(release, "{{ .Env.KL_LDFLAGS }}") {
		t.Error(".goreleaser.yml does not take the linker's flags from the Makefile's KL_LDFLAGS alone")
	}
}

// declares reports whether package main in dir has a string variable of that name.
func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^(var |\t)([\w, ]*\b)?` + name + `\b[\w, ]*( string|\s*=\s*")`)
	found := false
	err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			b, err := os.ReadFile(path)
			found = found || declaration.Match(b)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestNoConflictMarkers fails for a file that was committed in the middle of a merge.
func TestNoConflictMarkers(t *testing.T) {
	conflictMarker := regexp.MustCompile(`(?m)^(<{7}|={7}|>{7}|\|{7})( |\r?$)`)
	for _, marker := range []string{"<", "|", "=", ">"} {
		if !conflictMarker.MatchString("before\n" + strings.Repeat(marker, 7) + " name\nafter\n") {
			t.Fatalf("the pattern does not find the marker of seven %s", marker)
		}
	}
	for _, f := range trackedFiles(t) {
		info, err := os.Lstat(filepath.Join("..", f))
		if err != nil {
			t.Fatal(err)
		}
		if !info.Mode().IsRegular() {
			continue
		}
		if text := readTree(t, f); conflictMarker.MatchString(text) {
			at := conflictMarker.FindStringIndex(text)[0]
			t.Errorf("%s:%d: a conflict marker of git", f, 1+strings.Count(text[:at], "\n"))
		}
	}
}

// TestQuickScripts fails for a script that a quick run would never run: one that is for one driver, and in a quick run for the other.
func TestQuickScripts(t *testing.T) {
	quick := regexp.MustCompile(`(?m)^quick (\S+)$`)
	found := map[string]int{}
	for _, f := range trackedFiles(t) {
		if path := filepath.ToSlash(filepath.Dir(f)); path != "testdata/script" {
			continue
		}
		text := readTree(t, f)
		for _, m := range quick.FindAllStringSubmatch(text, -1) {
			found[m[1]]++
			other := map[string]string{"docker": "embedded", "embedded": "docker"}[m[1]]
			if regexp.MustCompile(`(?m)^(\[driver:` + m[1] + `\]|\[!driver:` + other + `\]).* skip `).MatchString(text) {
				t.Errorf("%s is never run in a quick run: it is not for driver %s", f, m[1])
			}
		}
	}
	if found["docker"] == 0 || found["embedded"] == 0 || len(found) != 2 {
		t.Errorf("drivers of quick runs are %v, want docker and embedded", found)
	}
}
