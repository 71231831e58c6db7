package resources_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/klkube/kl/embedded/tour/resources"
	"github.com/klkube/kl/embedded/tour/tourtest"
)

// served returns what a keeper serves.
func served(t *testing.T, r *tourtest.Run) string {
	t.Helper()
	addr := r.Wait(` lines on (\S+)\n`)[1]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A device is a file here: making a loop device needs root.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "device")
	if err := os.WriteFile(device, make([]byte, 3*4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, where := range [][]string{{filepath.Join(dir, "starts")}, {"--device", device}} {
		want := ""
		for i, name := range []string{"a-0", "a-0", "b-1"} {
			r := tourtest.Start(t, resources.Keep(), append([]string{"--listen", "127.0.0.1:0", "--name", name}, where...)...)
			want += name + ` \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ` + fmt.Sprint(i+1) + "\n"
			if got := served(t, r); !regexp.MustCompile("^" + want + "$").MatchString(got) {
				t.Errorf("%s: served %q, want %s", where, got, want)
			}
			r.Wait("^" + want + fmt.Sprintf("%s serves %d lines on ", name, i+1))
			if err := r.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	err := tourtest.Start(t, resources.Keep(), "--listen", "127.0.0.1:0", "--device", device).End()
	if want := "keep: " + device + " has no space for another record after 3"; err == nil || err.Error() != want {
		t.Errorf("a full device: error %v, want %s", err, want)
	}
}

func TestKeepAfterACutLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "starts")
	if err := os.WriteFile(path, []byte("a-0 then 1\na-0 the"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := tourtest.Start(t, resources.Keep(), "--listen", "127.0.0.1:0", "--name", "a-0", path)
	r.Wait(`^a-0 then 1\na-0 the\na-0 \S+ 3\n`)
}

// What the device holds is left alone, also if it begins as a record does.
func TestKeepOverwritesNothing(t *testing.T) {
	for _, content := range []string{"a file system", "kl tour keep\n", "kl tour keep\na-0 cut", "\x00\x00something later in the block"} {
		device := filepath.Join(t.TempDir(), "device")
		data := append([]byte(content), make([]byte, 8192-len(content))...)
		if err := os.WriteFile(device, data, 0o600); err != nil {
			t.Fatal(err)
		}
		err := tourtest.Start(t, resources.Keep(), "--listen", "127.0.0.1:0", "--device", device).End()
		if err == nil || !strings.Contains(err.Error(), "holds something else than the lines of keep at byte 0: nothing was written") {
			t.Errorf("%q: error %v", content, err)
		}
		if after, _ := os.ReadFile(device); string(after) != string(data) {
			t.Errorf("%q was overwritten", content)
		}
	}
}

func TestKeepRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		err  string
	}{
		{nil, "keep: want either FILE or --device"},
		{[]string{"a", "--device", "b"}, "keep: want either FILE or --device"},
		{[]string{dir}, "keep: read " + dir + ": is a directory"},
		{[]string{dir + "/none/starts"}, "keep: open " + dir + "/none/starts: no such file or directory"},
		{[]string{"--device", dir + "/none"}, "keep: open " + dir + "/none: no such file or directory"},
	} {
		err := tourtest.Start(t, resources.Keep(), append(tt.args, "--listen", "127.0.0.1:0")...).End()
		if err == nil || err.Error() != tt.err {
			t.Errorf("%q: error %v, want %s", tt.args, err, tt.err)
		}
	}
}

func TestFill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	r := tourtest.Start(t, resources.Fill(), path, "--size", "1000001")
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 1000001 {
		t.Errorf("%v, error %v", info, err)
	}
	if err := tourtest.Start(t, resources.Fill(), path, "--size", "3").End(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "kl " {
		t.Errorf("again: %q, error %v", data, err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := tourtest.Start(t, resources.Fill(), path).End()
	if want := "fill: " + path + " holds something else than fill writes: nothing was written"; err == nil || err.Error() != want {
		t.Errorf("another file: error %v, want %s", err, want)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("another file holds %q, error %v", data, err)
	}
}

func TestFillSlowly(t *testing.T) {
	r := tourtest.Start(t, resources.Fill(), filepath.Join(t.TempDir(), "file"), "--size", "1Ti", "--rate", "1Mi")
	r.Wait(`wrote \d+Ki of 1Ti\n`)
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	r = tourtest.Start(t, resources.Fill(), path, "--size", "1Ki", "--stay")
	r.Wait(path + " has 1Ki\n")
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
}
