package images

import "testing"

func TestNormalize(t *testing.T) {
	for name, want := range map[string]string{
		"busybox:1":             "docker.io/library/busybox:1",
		"kl.local/pause:1":      "kl.local/pause:1",
		"example.com/a":         "example.com/a:latest",
		"localhost:5000/a/b:c":  "localhost:5000/a/b:c",
		"latest":                "", // a tag alone, as OCI layouts have them
		"v1.2":                  "",
		"Not/A/Valid:reference": "",
		"":                      "",
	} {
		if got := normalize(name); got != want {
			t.Errorf("normalize(%q) = %q, want %q", name, got, want)
		}
	}
}
