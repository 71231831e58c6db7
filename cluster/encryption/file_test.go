package encryption_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
	"github.com/klkube/kl/cluster/statefile"
)

func newLayout(t *testing.T) cluster.Layout {
	t.Helper()
	l := cluster.Home(t.TempDir()).Cluster("dev")
	if err := statefile.MkdirAll(l.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestFile(t *testing.T) {
	keys := testKeys()
	for name, c := range map[string]encryption.Config{
		"one key":  {"secrets": {keys["box1"]}},
		"plain":    {"secrets": {keys["plain"]}},
		"rotating": {"secrets": {keys["box2"], keys["box1"]}, "configmaps": {keys["box2"], keys["box1"]}},
		"all":      {"secrets": {keys["box1"], keys["cbc"], keys["box2"], keys["gcm"], keys["kms1"], keys["plain"]}, "widgets.example.com": {keys["gcm"]}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			if err := encryption.Write(l, c, ""); err != nil {
				t.Fatal(err)
			}
			got, hash, err := encryption.Read(l)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, got); diff != "" {
				t.Error(diff)
			}
			info, err := os.Stat(l.EncryptionConfig())
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if err := encryption.Write(l, c, "again"); err != nil {
				t.Fatal(err)
			}
			stamped, other, err := encryption.Read(l)
			if err != nil || hash == other {
				t.Errorf("stamped: hash %s, before %s, %v", other, hash, err)
			}
			if diff := cmp.Diff(c, stamped); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDamagedFile: one line says what is wrong, and shows no secret.
func TestDamagedFile(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	head := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
	list := func(provider string) string {
		return head + "resources:\n- resources: [secrets]\n  providers:\n  - " + provider + "\n"
	}
	for name, c := range map[string]struct{ file, want string }{
		"empty":         {"", "apiVersion"},
		"half":          {head + "resources:\n- resources: [secr", "line 4"},
		"another kind":  {"apiVersion: v1\nkind: Secret\n", `"Secret"`},
		"no resources":  {head, "no resources"},
		"wildcard":      {strings.Replace(list("identity: {}"), "[secrets]", `["*.*"]`, 1), "name each"},
		"twice":         {strings.Replace(list("identity: {}"), "[secrets]", "[secrets, secrets]", 1), "secrets stands twice"},
		"no provider":   {head + "resources:\n- resources: [secrets]\n  providers: []\n", "no provider for secrets"},
		"other":         {list("{}"), "none of secretbox"},
		"unknown field": {list("rot13: {}"), "rot13"},
		"not base64":    {list("secretbox: {keys: [{name: a, secret: '" + secret[:20] + "!'}]}"), `key "a" is not base64`},
		"cut":           {list("secretbox: {keys: [{name: a, secret: " + secret[:24] + "}]}"), `key "a" has 18 bytes`},
		"wrong type":    {list("secretbox: {keys: [{name: a, secret: {x: " + secret + "}}]}"), "wrong type"},
		"name":          {list("aesgcm: {keys: [{name: 'a:b', secret: " + secret + "}]}"), "not a key's name"},
		"kms v1":        {list("kms: {apiVersion: v1, name: a, endpoint: 'unix:///a'}"), "use v2"},
		"kms timeout":   {list("kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: soon}"), "such as 3s"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			if err := os.WriteFile(l.EncryptionConfig(), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := encryption.Read(l)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), l.EncryptionConfig()) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), secret[:12]) {
				t.Errorf("error %q has more than a line, or a secret", err)
			}
		})
	}
	if _, _, err := encryption.Read(newLayout(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestSecretsAreNotPrinted: whatever prints a key or a configuration prints no secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	key := encryption.Key{Provider: cluster.EncryptionAESCBC, Name: "a", Secret: []byte("top-secret-bytes")}
	c := encryption.Config{"secrets": {key}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{key, &key, c, encryption.Goal{Key: key}, encryption.Step{Config: c}} {
			text := fmt.Sprintf(format, v)
			if strings.Contains(text, "top-secret") || strings.Contains(text, "116, 111, 112") || strings.Contains(text, "0x74, 0x6f") {
				t.Errorf("%s of %T prints %s", format, v, text)
			}
		}
	}
}

func TestNewKey(t *testing.T) {
	now := time.Date(2026, 11, 29, 14, 0, 0, 0, time.UTC)
	a := encryption.NewKey(cluster.EncryptionSecretbox, now, nil)
	b := encryption.NewKey(cluster.EncryptionSecretbox, now.Add(-time.Hour), []encryption.Key{a})
	if a.Name != "key-20261129-140000" || !a.Made().Equal(now) || len(a.Secret) != 32 {
		t.Errorf("%s of %v with %d bytes", a.Name, a.Made(), len(a.Secret))
	}
	if !b.Made().After(a.Made()) { // though the clock was set back
		t.Errorf("%s is not newer than %s", b.Name, a.Name)
	}
	newest, ok := (encryption.Config{"x": {a, b}}).Newest(cluster.EncryptionSecretbox)
	if !ok || !newest.Same(b) || string(a.Secret) == string(b.Secret) {
		t.Errorf("newest is %s", newest)
	}
}

func TestUnder(t *testing.T) {
	for value, want := range map[string]string{
		"k8s:enc:secretbox:v1:key-20261129-140000:\x00\x01": "secretbox key-20261129-140000",
		"k8s:enc:aescbc:v1:a:b:c":                           "aescbc a",
		"k8s:enc:aesgcm:v1:a:":                              "aesgcm a",
		"k8s:enc:kms:v2:vault:\x0a":                         "kms vault",
		"k8s:enc:kms:v1:vault:\x0a":                         "kms vault",
		"k8s:enc:":                                          " ",
		"k8s:enc:secretbox:v1:" + strings.Repeat("x", 1000): "secretbox ",
		"k8s\x00\n\x0c\n\x02v1\x12\x06Secret":               "no key",
		`{"apiVersion":"example.com/v1","kind":"Widget"}`:   "no key",
		"": "no key",
	} {
		if got := encryption.Under([]byte(value)).String(); got != want {
			t.Errorf("%q is under %q, want %q", value[:min(len(value), 40)], got, want)
		}
	}
}

func TestTally(t *testing.T) {
	keys := testKeys()
	var got encryption.Tally
	for _, k := range []string{"box1", "plain", "box1", "kms1"} {
		got.Count(keys[k])
	}
	if got.Objects != 4 || got.Plain != 1 || got.Under(keys["box1"]) != 2 || got.Under(keys["kms1"]) != 1 || got.Under(keys["box2"]) != 0 || got.Under(keys["plain"]) != 1 {
		t.Errorf("%+v", got)
	}
}
