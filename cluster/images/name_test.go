package images

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

func TestFind(t *testing.T) {
	hex := func(s string) string { return "sha256:" + strings.Repeat(s, 64/len(s)) }
	list := []cluster.Image{
		{Names: []string{"docker.io/library/app:dev", "docker.io/library/app@" + hex("aa01")}, Digest: hex("aa01"), Config: hex("cc01")},
		{Names: []string{"docker.io/library/app:latest", "localhost:5000/app:latest"}, Digest: hex("aa02"), Config: hex("cc02")},
		{Names: []string{"docker.io/library/app@" + hex("aa03")}, Digest: hex("aa03"), Config: hex("cc03")},
		{Names: []string{"docker.io/library/cafe:latest"}, Digest: hex("aa04"), Config: hex("cafe")},
		{Digest: hex("beef"), Config: hex("cc05")},
	}
	for text, want := range map[string]string{
		"app:dev":                 "docker.io/library/app:dev",
		"library/app:dev":         "docker.io/library/app:dev",
		"docker.io/app:dev":       "docker.io/library/app:dev",
		"app":                     "docker.io/library/app:latest",
		"localhost:5000/app":      "localhost:5000/app:latest",
		"app@" + hex("aa01"):      "docker.io/library/app:dev docker.io/library/app@" + hex("aa01"),
		"app:dev@" + hex("aa01"):  "docker.io/library/app:dev",
		"app:dev@" + hex("aa02"):  "",
		"app@sha256:aa03aa03aa03": "docker.io/library/app@" + hex("aa03"),
		"cafe":                    "docker.io/library/cafe:latest", // not the ID that begins so
		"cafecafe":                "docker.io/library/cafe:latest",
		"cc02":                    "docker.io/library/app:latest localhost:5000/app:latest",
		hex("cc01"):               "docker.io/library/app:dev docker.io/library/app@" + hex("aa01"),
		strings.TrimPrefix(hex("cc01"), "sha256:"): "docker.io/library/app:dev docker.io/library/app@" + hex("aa01"),
		"sha256:aa02":     "docker.io/library/app:latest localhost:5000/app:latest",
		"beef":            hex("cc05"), // the CRI plugin's name
		"cc0":             "",
		"app:no":          "",
		"docker.io/app":   "docker.io/library/app:latest",
		"example.com/app": "",
	} {
		found, err := Find(list, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var got []string
		for _, m := range found {
			got = append(got, m.Named...)
		}
		if d := cmp.Diff(want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
	for _, text := range []string{"", "UPPER", "a b", "app:", "app@", "app@sha256:", "app@md5:abcd", "app@sha256:xyz", "sha256:cc0", "@", ":1", "\x1b[31m"} {
		if found, err := Find(list, text); err == nil && len(found) > 0 || err != nil && strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("%q: %v, %v", text, found, err)
		}
	}
	list = append(list, cluster.Image{Config: hex("cc05")[:64] + "f0f0f0f"})
	if _, err := Find(list, "cc05"); err == nil || !strings.Contains(err.Error(), "several images") {
		t.Errorf("ambiguous: %v", err)
	}
	if got := Like(list, "app:devv"); !slices.Equal(got, []string{"docker.io/library/app:dev", "docker.io/library/app:latest"}) {
		t.Errorf("like app:devv: %q", got)
	}
}

func TestShort(t *testing.T) {
	for name, want := range map[string]string{
		"docker.io/library/app:1": "app:1", "docker.io/me/app:1": "me/app:1", "localhost:5000/app:1": "localhost:5000/app:1", "": "", "odd name": "odd name",
		"docker.io/library/app@sha256:" + strings.Repeat("a", 64): "app@sha256:aaaaaaaaaaaa",
	} {
		if got := Short(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
