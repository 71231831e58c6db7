package critest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/klkube/kl/cluster/cricheck"

	"sigs.k8s.io/cri-tools/pkg/framework"
	_ "sigs.k8s.io/cri-tools/pkg/validate" // registers the suite
)

// lockFile keeps a second run away while one uses the directories.
const lockFile = "/run/kl-cri-check.lock"

// Options say what to run.
type Options struct {
	Focus   []string  // regular expressions: specs that match one are run; all if empty
	Skip    []string  // regular expressions: specs that match one are not run
	Results io.Writer // gets a line of JSON for each spec, a cricheck.Spec
}

// ErrSpecsFailed is returned by Run if a spec failed.
var ErrSpecsFailed = errors.New("specs failed")

// Run runs the suite in the node it is called in, once in a process, and returns after everything it made is gone. It ends early when ctx does.
func Run(ctx context.Context, o Options) (err error) {
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	klog.SetLogger(logr.Discard()) // what fails is in the results
	r := newRegistry()
	if err := addImages(r, "/", self); err != nil {
		return fmt.Errorf("make images: %w", err)
	}
	address, stop, err := r.serve()
	if err != nil {
		return fmt.Errorf("serve images: %w", err)
	}
	defer stop() //nolint:errcheck // nothing is lost with it
	framework.TestContext.RuntimeServiceAddr = "unix://" + socket()
	framework.TestContext.ImageServiceAddr = "unix://" + socket()
	framework.TestContext.RuntimeServiceTimeout = 5 * time.Minute
	framework.TestContext.ImageServiceTimeout = 5 * time.Minute
	framework.TestContext.RegistryPrefix = framework.DefaultRegistryPrefix
	d, err := startDaemon(ctx, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop(ctx)) }()
	if err := os.Setenv("TMPDIR", filepath.Join(dataDir, "tmp")); err != nil {
		return err
	}
	if err := shadowTools(self); err != nil {
		return err
	}
	return runSuite(ctx, o)
}

func lock() (unlock func(), err error) {
	f, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, errors.New("another check runs on this node")
	}
	return func() { _ = os.Remove(lockFile); f.Close() }, nil
}

// shadowTools puts the tool that the suite runs in the node itself, and that a node lacks, into $PATH.
func shadowTools(self string) error {
	dir := filepath.Join(dataDir, "tmp", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(self, filepath.Join(dir, "ipcmk")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// runSuite runs the specs and reports each.
func runSuite(ctx context.Context, o Options) error {
	out := json.NewEncoder(o.Results)
	var problem error
	var seen, failed int
	ginkgo.ReportAfterEach(func(r ginkgo.SpecReport) {
		s, ok := o.outcome(r)
		if !ok {
			return
		}
		seen++
		if s.Outcome == cricheck.Failed {
			failed++
		}
		problem = errors.Join(problem, out.Encode(s))
	})
	ginkgo.ReportAfterSuite("suite", func(r ginkgo.Report) { // BeforeSuite, and what ended the run early
		for _, reason := range r.SpecialSuiteFailureReasons {
			if !r.SuiteSucceeded && failed == 0 {
				problem = errors.Join(problem, errors.New(reason))
			}
		}
	})
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.FocusStrings, suite.SkipStrings = o.Focus, o.Skip
	for _, s := range skips() {
		suite.SkipStrings = append(suite.SkipStrings, s.pattern)
	}
	reporter.NoColor = true
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(os.Getpid(), unix.SIGINT) }) // ginkgo ends the spec, cleans up and returns
	defer stop()
	passed := ginkgo.RunSpecs(failer{}, "CRI validation", suite, reporter)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case problem != nil:
		return problem
	case seen == 0:
		return errors.New("no spec of the suite has a name that was asked for")
	case !passed:
		return ErrSpecsFailed
	}
	return nil
}

// failer is ginkgo's *testing.T; RunSpecs returns the result, too.
type failer struct{}

func (failer) Fail() {}

// outcome translates a report. It returns false for a spec that nobody asked for.
func (o Options) outcome(r ginkgo.SpecReport) (cricheck.Spec, bool) {
	s := cricheck.Spec{Name: strings.TrimPrefix(r.FullText(), "[k8s.io] "), Outcome: cricheck.Passed, Seconds: r.RunTime.Seconds()}
	switch {
	case r.State.Is(types.SpecStatePassed):
	case r.State.Is(types.SpecStateSkipped | types.SpecStatePending):
		s.Outcome, s.Reason = cricheck.Skipped, r.FailureMessage()
		if s.Reason == "" && o.selects(r.FullText()) {
			s.Reason = skipReason(r.FullText())
		}
		if s.Reason == "" { // by Options
			return s, false
		}
	default:
		s.Outcome, s.Reason = cricheck.Failed, strings.TrimSpace(r.FailureMessage())
		s.Log = r.CapturedGinkgoWriterOutput
		if s.Reason == "" {
			s.Reason = r.State.String()
		}
	}
	return s, true
}

// selects reports whether a spec is among those that were asked for. The expressions have been compiled by ginkgo.
func (o Options) selects(name string) bool {
	matches := func(pattern string) bool { return regexp.MustCompile(pattern).MatchString(name) }
	return (len(o.Focus) == 0 || slices.ContainsFunc(o.Focus, matches)) && !slices.ContainsFunc(o.Skip, matches)
}

// KeepStdout returns standard output, and discards what is written to descriptor 1 from now on: ginkgo prints there, as the
// programs do that the suite starts.
func KeepStdout() (*os.File, error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	saved, err := unix.FcntlInt(uintptr(unix.Stdout), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.Dup3(int(null.Fd()), unix.Stdout, 0); err != nil {
		return nil, errors.Join(err, unix.Close(saved))
	}
	return os.NewFile(uintptr(saved), "results"), nil
}
