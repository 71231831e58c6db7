package resources

import (
	"io"
	"os"
	"testing"

	"github.com/klkube/kl/embedded/tour"
)

func TestFillAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	err = (&filler{size: 10}).write(t.Context(), full, tour.NewLog(io.Discard))
	if want := "write /dev/full: no space left on device, after 0"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
