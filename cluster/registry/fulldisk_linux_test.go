package registry_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestFullDisk: what does not fit is refused in words, both when it is pushed and when it is pulled, nothing of it stays, and what was
// there still is.
func TestFullDisk(t *testing.T) {
	home := t.TempDir()
	if err := syscall.Mount("tmpfs", home, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("SKIPPED: mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(home, syscall.MNT_DETACH)) })
	s, _ := puller(t, home)
	at, _ := serve(t, s, freePort(t))
	small := image(t, 2)
	must(t, remote.Write(tag(t, at+"/app:1"), small))

	large := strings.Repeat("large", 1<<20)
	h, _, err := v1.SHA256(strings.NewReader(large))
	must(t, err)
	w := request(s.Handler(), "POST", "/v2/app/blobs/uploads/?digest="+h.String(), large)
	if w.Code != 507 || !strings.Contains(w.Body.String(), "no space left in "+home) {
		t.Errorf("a push that does not fit: %d %s", w.Code, w.Body)
	}
	location := request(s.Handler(), "POST", "/v2/app/blobs/uploads/", "").Header().Get("Location")
	if w := request(s.Handler(), "PATCH", location, large); w.Code != 507 {
		t.Errorf("a part that does not fit: %d %s", w.Code, w.Body)
	}
	up := newRegistry(t, false, nil)
	name := up.push(t, imageOfSize(t, 3<<20))
	refused(t, s, name, nil, "no space left on device in "+filepath.Join(home, "registry"))
	for _, dir := range []string{"uploads", "partial"} {
		if left, err := os.ReadDir(filepath.Join(home, "registry", dir)); err != nil || len(left) > 0 {
			t.Errorf("%s holds %v, %v", dir, left, err)
		}
	}
	found, _, err := s.Find(t.Context(), at+"/app:1")
	must(t, err)
	same(t, found, small)
	if _, err := s.Prune(t.Context(), true); err != nil {
		t.Error(err)
	}
	same(t, found, small)
}
