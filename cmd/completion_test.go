package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBashWithoutPackage presses TAB in a bash that has no bash-completion: kl is asked for the words of the line, and nothing is
// printed.
func TestBashWithoutPackage(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: no bash on this machine")
	}
	dir := t.TempDir()
	script := newMachine(t).must("completion", "bash")
	asked := "#!" + bash + "\nprintf '<%s>' \"$@\" >>" + dir + "/asked\nlast=${@: -1}\nprintf '%s1\\n%s2\\n:4\\n' \"${last#*=}\" \"${last#*=}\"\n"
	for name, text := range map[string]string{"kl": asked, "script": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ line, words, want, reply string }{
		{"kl ", "kl ''", "<__complete><>", "1,2,"},
		{"kl st", "kl st", "<__complete><st>", "st1,st2,"},
		{"kl  status --name ", "kl status --name ''", "<__complete><status><--name><>", "1,2,"},
		{"kl status --name=b", "kl status --name = b", "<__complete><status><--name=b>", "b1,b2,"},
		{"kl status --name=", "kl status --name =", "<__complete><status><--name=>", "1,2,"},
		{"kl expose web --port 80:8", "kl expose web --port 80 : 8", "<__complete><expose><web><--port><80:8>", "81,82,"},
		{"kl expose web:http ", "kl expose web : http ''", "<__complete><expose><web:http><>", "1,2,"},
	} {
		os.Remove(filepath.Join(dir, "asked"))
		cmd := exec.Command(bash, "--norc", "--noprofile", "-c", `source "$1/script"; COMP_LINE=$2; COMP_POINT=${#2}; eval "COMP_WORDS=($3)"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_TYPE=9; COMP_KEY=9; compopt() { :; }; __start_kl; printf '%s,' "${COMPREPLY[@]}"`, "bash", dir, tt.line, tt.words) //nolint:noctx
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != tt.reply {
			t.Errorf("%q: %v, prints %q, want %q", tt.line, err, out, tt.reply)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, "asked")); string(got) != tt.want {
			t.Errorf("%q: kl was asked %s, want %s", tt.line, got, tt.want)
		}
	}
}
