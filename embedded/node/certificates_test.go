package node

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

func TestReadCertificates(t *testing.T) {
	dir := t.TempDir()
	if list, err := readCertificates("n1", dir); err != nil || len(list) != 0 {
		t.Errorf("of a new node: %v, %v", list, err)
	}
	cert, key, err := certutil.GenerateSelfSignedCertKey("n1", nil, []string{"n1.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubelet-client-current.pem"), append(key, cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := readCertificates("n1", dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if got := list[0]; got.Name != "kubelet-client" || got.Node != "n1" || !strings.HasPrefix(got.Subject, "CN=n1@") || got.NotAfter.Before(time.Now()) || time.Since(got.Written) > time.Hour ||
		!slices.Equal(got.Names, []string{"n1", "n1.example"}) {
		t.Errorf("got %+v", got)
	}
	damaged := filepath.Join(dir, "kubelet-server-current.pem")
	if err := os.WriteFile(damaged, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readCertificates("n1", dir); err == nil || !strings.Contains(err.Error(), damaged) {
		t.Errorf("of a damaged file: %v", err)
	}
}

// A certificate is outdated that another authority than the first of the file has issued, or that is older than the last rotation.
func TestOutdatedCertificates(t *testing.T) {
	ca := func(name string) (cert, leaf []byte) { // upstream's "self-signed" certificate is one of an authority, which follows it
		both, key, err := certutil.GenerateSelfSignedCertKey(name, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(both, []byte("-----BEGIN"))
		return both[at:], append(key, both[:at]...)
	}
	newCA, ofNew := ca("n1")
	oldCA, ofOld := ca("n1")
	issued := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name        string
		cert        []byte
		trusted     []byte
		renewBefore time.Time
		want        bool
	}{
		{"never rotated", ofOld, oldCA, time.Time{}, false},
		{"of the authority that was replaced", ofOld, append(newCA, oldCA...), issued.Add(-time.Hour), true},
		{"of the new authority", ofNew, append(newCA, oldCA...), issued.Add(-time.Hour), false},
		{"older than the rotation", ofNew, newCA, issued.Add(time.Second), true},
		{"as old as the rotation", ofNew, newCA, issued, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ca := filepath.Join(dir, "ca.crt")
			if err := os.WriteFile(ca, tt.trusted, 0o600); err != nil {
				t.Fatal(err)
			}
			var files []string
			for _, name := range kubeletCertificates() {
				files = append(files, filepath.Join(dir, name+"-2026.pem"))
				err := os.WriteFile(files[len(files)-1], tt.cert, 0o600)
				if err == nil {
					err = os.Chtimes(files[len(files)-1], issued, issued)
				}
				if err == nil {
					err = os.Symlink(name+"-2026.pem", current(dir, name))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := dropOutdated(dir, ca, tt.renewBefore); err != nil {
				t.Fatal(err)
			}
			for _, name := range kubeletCertificates() {
				if _, err := os.Stat(current(dir, name)); os.IsNotExist(err) != tt.want {
					t.Errorf("%s: %v, want it dropped: %v", name, err, tt.want)
				}
			}
			for _, f := range files { // what a running kubelet has open stays
				if _, err := os.Stat(f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := dropOutdated(t.TempDir(), "/none", issued); err != nil {
		t.Errorf("of a new node: %v", err)
	}
}
