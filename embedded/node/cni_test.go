package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// TestDropOtherCNI: a node that begins, or ends, enforcing policies does not start pods with the wrong plugins.
func TestDropOtherCNI(t *testing.T) {
	config := func(policies bool) string {
		data, err := cniConfig(netip.MustParsePrefix("10.244.1.0/24"), 1500, policies)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, tt := range []struct {
		name     string
		content  string
		policies bool
		kept     bool
	}{
		{"enforced as before", config(true), true, true},
		{"left out as before", config(false), false, true},
		{"enforced from now on", config(false), true, false},
		{"left out from now on", config(true), false, false},
		{"damaged", config(true)[:40], true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "10-kl.conflist")
			if err := os.WriteFile(file, []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := dropOtherCNI(file, tt.policies); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(file); (err == nil) != tt.kept {
				t.Errorf("after it: %v, want kept %v", err, tt.kept)
			}
		})
	}
	if err := dropOtherCNI(filepath.Join(t.TempDir(), "none"), true); err != nil {
		t.Errorf("no configuration: %v", err)
	}
}
