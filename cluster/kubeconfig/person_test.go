package kubeconfig_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
)

// change edits a kubeconfig as kubectl does.
func change(t *testing.T, path string, edit func(*clientcmdapi.Config)) {
	t.Helper()
	config := parseConfig(t, read(t, path))
	edit(config)
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
}

func merge(t *testing.T, l cluster.Layout, path string, makeCurrent bool) string {
	t.Helper()
	name, err := kubeconfig.Merge(t.Context(), l, path, makeCurrent)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func forget(t *testing.T, l cluster.Layout, files ...string) {
	t.Helper()
	if left := kubeconfig.Forget(t.Context(), l, files); left != nil {
		t.Fatal(left)
	}
}

// What a person has added to the cluster's entries survives another up, and so does the choice of another context.
func TestMergeKeepsWhatAPersonAdded(t *testing.T) {
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	write(t, path, readForeign(t))
	merge(t, l, path, true)
	change(t, path, func(c *clientcmdapi.Config) {
		c.Contexts["kl-demo"].Namespace = "dev"
		c.Clusters["kl-demo"].ProxyURL = "http://proxy"
		c.AuthInfos["kl-demo"].Impersonate = "ann"
		c.CurrentContext = "prod"
	})
	before := read(t, path)
	if name := merge(t, l, path, false); name != "kl-demo" || read(t, path) != before {
		t.Errorf("context %s, and the file has become\n%s", name, read(t, path))
	}
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		t.Fatal(err)
	}
	spec.Kubernetes.APIServerPort++
	if err := cluster.WriteSpec(l, spec); err != nil {
		t.Fatal(err)
	}
	merge(t, l, path, false)
	want := parseConfig(t, before)
	want.Clusters["kl-demo"].Server = kubeconfig.ServerURL(20444)
	got := parseConfig(t, read(t, path))
	if got.Clusters["kl-demo"].Server != want.Clusters["kl-demo"].Server || got.Contexts["kl-demo"].Namespace != "dev" ||
		got.Clusters["kl-demo"].ProxyURL != "http://proxy" || got.AuthInfos["kl-demo"].Impersonate != "ann" || got.CurrentContext != "prod" {
		t.Errorf("the file has become\n%s", read(t, path))
	}
}

// A cluster keeps the names that a person gave its context and its cluster, and takes them along when it goes.
func TestRenamedEntries(t *testing.T) {
	foreign := readForeign(t)
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	write(t, path, foreign)
	merge(t, l, path, true)
	change(t, path, func(c *clientcmdapi.Config) {
		c.Contexts["mine"], c.Clusters["here"] = c.Contexts["kl-demo"], c.Clusters["kl-demo"]
		c.Contexts["mine"].Cluster = "here"
		delete(c.Contexts, "kl-demo")
		delete(c.Clusters, "kl-demo")
		other := c.Contexts["mine"].DeepCopy()
		other.AuthInfo = "prod" // a user of the person's own
		c.Contexts["second"], c.CurrentContext = other, "mine"
	})
	if name := merge(t, l, path, false); name != "mine" {
		t.Errorf("the context is %s, want mine", name)
	}
	if c := parseConfig(t, read(t, path)); len(c.Contexts) != len(parseConfig(t, foreign).Contexts)+2 {
		t.Errorf("contexts were added:\n%s", read(t, path))
	}

	// Contexts for a cluster may be in another file of the list.
	second := filepath.Join(t.TempDir(), "second")
	write(t, second, "apiVersion: v1\nkind: Config\ncontexts:\n- name: away\n  context: {cluster: here, user: me}\ncurrent-context: away\n")
	forget(t, l, second)
	c := parseConfig(t, read(t, path))
	want := parseConfig(t, foreign)
	if len(c.Contexts) != len(want.Contexts) || len(c.Clusters) != len(want.Clusters) || len(c.AuthInfos) != len(want.AuthInfos) || c.CurrentContext != "" {
		t.Errorf("left is\n%s", read(t, path))
	}
	if c := parseConfig(t, read(t, second)); len(c.Contexts) != 0 || c.CurrentContext != "" {
		t.Errorf("left is\n%s", read(t, second))
	}
}

// Two KL_HOMEs may have a cluster of one name: neither replaces nor withdraws the other's entries, unless the other is gone.
func TestTwoClustersOfOneName(t *testing.T) {
	first, second, path := newCluster(t), newCluster(t), filepath.Join(t.TempDir(), "config")
	merge(t, first, path, true)
	before := read(t, path)
	name := merge(t, second, path, true)
	if name == "kl-demo" || !strings.HasPrefix(name, "kl-demo-") {
		t.Errorf("the second context is called %s", name)
	}
	forget(t, second, path)
	if after := read(t, path); after != strings.Replace(before, "current-context: kl-demo", `current-context: ""`, 1) {
		t.Errorf("the first cluster's entries have become\n%s", after)
	}
	merge(t, second, path, true)
	forget(t, first, path)
	c := parseConfig(t, read(t, path))
	if len(c.Contexts) != 1 || len(c.Clusters) != 1 || len(c.AuthInfos) != 1 || c.Contexts[name] == nil || c.CurrentContext != name {
		t.Errorf("left is\n%s", read(t, path))
	}

	third := newCluster(t)
	if name := merge(t, third, path, true); name != "kl-demo" {
		t.Errorf("the name is free, and %s was chosen", name)
	}
	if err := os.RemoveAll(third.Dir()); err != nil {
		t.Fatal(err)
	}
	fourth := newCluster(t)
	if name := merge(t, fourth, path, true); name != "kl-demo" {
		t.Errorf("the cluster that has the name is gone, and %s was chosen", name)
	}
	ca := base64.StdEncoding.EncodeToString([]byte(read(t, fourth.PKI("ca.crt"))))
	if got := parseConfig(t, read(t, path)); base64.StdEncoding.EncodeToString(got.Clusters["kl-demo"].CertificateAuthorityData) != ca {
		t.Error("the entry is not the fourth cluster's")
	}
}

// An entry that another tool or person called kl-demo stays, in a merge and after.
func TestForeignEntryOfTheName(t *testing.T) {
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	foreign := strings.ReplaceAll(readForeign(t), "prod", "kl-demo")
	write(t, path, foreign)
	if name := merge(t, l, path, false); name == "kl-demo" {
		t.Error("the entry was taken over")
	}
	forget(t, l, path)
	if diff := slices.Compare(strings.Fields(read(t, path)), strings.Fields(foreign)); diff != 0 {
		t.Errorf("left is\n%s\nwant\n%s", read(t, path), foreign)
	}
}

// A file that cannot be merged into is left alone, at once; one that has become so is named, and the others are done.
func TestFilesThatCannotBeWritten(t *testing.T) {
	l, dir := newCluster(t), t.TempDir()
	good, broken, gone := filepath.Join(dir, "good"), filepath.Join(dir, "broken"), filepath.Join(dir, "gone")
	for _, path := range []string{good, broken, gone} {
		merge(t, l, path, true)
	}
	pipe, readOnly := filepath.Join(dir, "pipe"), filepath.Join(dir, "read-only")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, readOnly, readForeign(t))
	if err := os.Chmod(readOnly, 0o400); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{pipe: "is a named pipe, not a regular file", readOnly: "is read-only", dir: "is a directory"} {
		began := time.Now()
		_, err := kubeconfig.Merge(t.Context(), l, path, true)
		if cerr := kubeconfig.Check(path); err == nil || cerr == nil || err.Error() != cerr.Error() || !strings.Contains(err.Error(), path+": "+want) {
			t.Errorf("Merge returned %v, Check %v, want %s and %q", err, cerr, path, want)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s to refuse %s", took, path)
		}
	}
	write(t, broken, "kind: [")
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	left := kubeconfig.Forget(t.Context(), l, []string{good, pipe, readOnly})
	if len(left) != 1 || !strings.Contains(left[0].Error(), broken+": not a kubeconfig") {
		t.Errorf("Forget returned %v, want an error for %s alone", left, broken)
	}
	if strings.Contains(read(t, good), "kl-demo") || read(t, broken) != "kind: [" || read(t, readOnly) != readForeign(t) {
		t.Error("the files are not what they should be")
	}
}

// Links, dangling ones too, stay links, and comments of a file without entries stay.
func TestMergeThroughLinks(t *testing.T) {
	l, dir := newCluster(t), t.TempDir()
	link := filepath.Join(dir, "link")
	for from, to := range map[string]string{link: "second", filepath.Join(dir, "second"): "there/config"} {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	merge(t, l, link, true)
	info, err := os.Lstat(filepath.Join(dir, "there", "config"))
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("the target has mode %v (%v)", info, err)
	}
	if to, err := os.Readlink(link); err != nil || to != "second" {
		t.Errorf("the link is %q (%v)", to, err)
	}
	forget(t, l)
	checkKept(t, filepath.Join(dir, "there", "config"), []string{"kind: Config", "contexts: []"})

	write(t, link, "# only a comment\n")
	merge(t, l, link, true)
	checkKept(t, link, []string{"# only a comment\n", "kl-demo"})
}
