package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// TestDropOtherCNI: after policies have been enabled or disabled, no pod starts with the plugins of before.
func TestDropOtherCNI(t *testing.T) {
	config := func(policies bool) string {
		data, err := cniConfig(netip.MustParsePrefix("10.244.1.0/24"), testUplink(1500), policies)
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
		{"still enabled", config(true), true, true},
		{"still disabled", config(false), false, true},
		{"newly enabled", config(false), true, false},
		{"newly disabled", config(true), false, false},
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
				t.Errorf("stat: %v, want the file kept: %v", err, tt.kept)
			}
		})
	}
	if err := dropOtherCNI(filepath.Join(t.TempDir(), "none"), true); err != nil {
		t.Errorf("no configuration: %v", err)
	}
}
