package cluster_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/klkube/kl/cluster"
)

func TestOwnerIsThatOfADirectoryWhateverItIsCalledBy(t *testing.T) {
	dir := t.TempDir()
	home, link := filepath.Join(dir, "home"), filepath.Join(dir, "link")
	before := cluster.Home(home).Owner()
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{home, link, link + "/", filepath.Join(dir, "other", "..", "home")} {
		if got := cluster.Home(path).Owner(); got != before {
			t.Errorf("owner of %s is %s, was %s before the directory existed", path, got, before)
		}
	}
	if missing, through := filepath.Join(home, "a", "b"), filepath.Join(link, "a", "b"); cluster.Home(missing).Owner() != cluster.Home(through).Owner() {
		t.Errorf("%s and %s have two owners", missing, through)
	}
	if cluster.Home(filepath.Join(dir, "home2")).Owner() == before {
		t.Error("two directories have one owner")
	}
}
