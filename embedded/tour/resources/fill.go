package resources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/time/rate"

	"github.com/klkube/kl/embedded/tour"
)

// fillStep is how much fill writes at a time, in bytes.
const fillStep = 64 << 10

// Fill writes a file.
func Fill() tour.Program {
	f := &filler{size: tour.Size(100 << 20)}
	return tour.Program{
		Name: "fill", Args: "PATH", Short: "writes a file of a size", Run: f.run,
		Long: `The file stays when the program ends. One that fill wrote before is written anew; any other is refused.`,
		Flags: func(fs *pflag.FlagSet) {
			fs.Var(&f.size, "size", "how much to write")
			fs.Var(&f.rate, "rate", "how much to write in a second; as much as the disk takes if not given")
			fs.BoolVar(&f.stay, "stay", false, "go on running once the file is written, until SIGTERM")
		},
	}
}

type filler struct {
	size, rate tour.Size
	stay       bool
}

// fillMark is what the file consists of.
const fillMark = "kl tour fill   \n"

func (f *filler) run(ctx context.Context, args []string, log *tour.Log) error {
	file, err := openFill(args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	if err := f.write(ctx, file, log); err != nil {
		return err
	}
	log.Printf("%s has %s", args[0], f.size)
	if f.stay {
		<-ctx.Done()
	}
	return nil
}

// openFill opens a new file, or one that fill wrote before.
func openFill(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	begin := make([]byte, len(fillMark))
	n, err := io.ReadFull(file, begin)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
	case !strings.HasPrefix(fillMark, string(begin[:n])):
		err = fmt.Errorf("%s holds something else than fill writes: nothing was written", path)
	default:
		if err = file.Truncate(0); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// write writes until the file has its size and is on the disk.
func (f *filler) write(ctx context.Context, file *os.File, log *tour.Log) error {
	limiter := rate.NewLimiter(rate.Inf, fillStep)
	if f.rate > 0 {
		limiter = rate.NewLimiter(rate.Limit(f.rate), fillStep)
	}
	block := bytes.Repeat([]byte(fillMark), fillStep/len(fillMark))
	told := time.Now()
	for written := int64(0); written < int64(f.size); {
		n := min(int64(f.size)-written, fillStep)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := limiter.WaitN(ctx, int(n)); err != nil {
			return err
		}
		done, err := file.Write(block[:n])
		written += int64(done)
		if err != nil {
			return fmt.Errorf("%w, after %s", err, tour.Size(written))
		}
		if time.Since(told) > time.Second {
			log.Printf("wrote %s of %s", tour.Size(written), f.size)
			told = time.Now()
		}
	}
	return file.Sync()
}
