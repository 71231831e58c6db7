package critest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// segmentsFile keeps the shared memory segments that the suite has made in the node, which it does not remove.
const segmentsFile = "segments"

// ExitError ends an applet with an exit code, and without a message of its own.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// applet is a command, without its name among the arguments.
type applet func(args []string, out io.Writer) error

// applets are the commands that the suite expects in its images, or in the node, and a node's busybox lacks or does otherwise.
func applets() map[string]applet {
	return map[string]applet{
		"nginx": serve, "httpd": serve, "ping": ping, "pgrep": pgrep, "brctl": brctl, "ipcs": ipcs, "ipcmk": ipcmk, "sh": shell,
		"nonewprivs": func(_ []string, out io.Writer) error {
			_, err := fmt.Fprintf(out, "Effective uid: %d\n", os.Geteuid())
			return err
		},
	}
}

// Applet runs the applet that this program was started as, and reports whether it was started as one.
func Applet(args []string, out io.Writer) (ran bool, err error) {
	run, ok := applets()[filepath.Base(args[0])]
	if !ok {
		return false, nil
	}
	return true, run(args[1:], out)
}

// serve is nginx and httpd: it answers on the port that is its first argument.
func serve(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("the port is missing")
	}
	if err := os.WriteFile("/var/run/nginx.pid", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	failed := make(chan error, 1)
	go func() {
		fmt.Fprintln(out, "httpd: serving on port "+args[0])
		failed <- http.ListenAndServe(":"+args[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:gosec // no one but the suite asks
			_, _ = io.WriteString(w, "<h1>It works</h1>\n")
		}))
	}()
	select {
	case <-stop:
		return nil
	case err := <-failed:
		return err
	}
}

// shell runs a command that is a single word as most shells do, by its file: busybox's would run its own ls though the file of ls is
// masked. All else is busybox's.
func shell(args []string, _ io.Writer) error {
	if len(args) != 2 || args[0] != "-c" || strings.ContainsAny(args[1], " \t\n;&|<>()$`\\\"'*?[]#~=%{}!") {
		return unix.Exec("/bin/busybox", append([]string{"sh"}, args...), os.Environ())
	}
	path, err := exec.LookPath(args[1])
	if err != nil {
		path = "/bin/" + args[1]
	}
	if err := unix.Exec(path, args[1:], os.Environ()); errors.Is(err, unix.EACCES) {
		fmt.Fprintf(os.Stderr, "/bin/sh: %s: Permission denied\n", args[1])
		return ExitError(126)
	}
	return unix.Exec("/bin/busybox", append([]string{"sh"}, args...), os.Environ())
}

// ping opens the raw socket that sending a ping needs, which takes NET_RAW.
func ping(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("the host is missing")
	}
	fmt.Fprintln(out, "PING "+args[0])
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err != nil {
		return errors.New("permission denied (are you root?)")
	}
	return unix.Close(fd)
}

// pgrep prints the processes of a name.
func pgrep(args []string, out io.Writer) error {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil || len(args) == 0 {
		return errors.Join(err, errors.New("want a name"))
	}
	found := false
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), args[0]) { // it may have ended
			fmt.Fprintln(out, filepath.Base(filepath.Dir(file)))
			found = true
		}
	}
	if !found {
		return ExitError(1)
	}
	return nil
}

// brctl makes a bridge: brctl addbr NAME.
func brctl(args []string, _ io.Writer) error {
	if len(args) != 2 || args[0] != "addbr" {
		return errors.New("want addbr NAME")
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var name [unix.IFNAMSIZ]byte
	copy(name[:unix.IFNAMSIZ-1], args[1])
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCBRADDBR, uintptr(unsafe.Pointer(&name[0]))); no != 0 {
		return no
	}
	return nil
}

// ipcs lists shared memory segments.
func ipcs(_ []string, out io.Writer) error {
	b, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "key shmid")
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, line := range lines[1:] {
		if f := strings.Fields(line); len(f) > 1 {
			fmt.Fprintln(out, f[0], f[1])
		}
	}
	return nil
}

// ipcmk makes a shared memory segment, ipcmk -M BYTES, and notes it in $TMPDIR.
func ipcmk(args []string, out io.Writer) error {
	if len(args) != 2 || args[0] != "-M" {
		return errors.New("want -M BYTES")
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, size, unix.IPC_CREAT|0o600)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(os.TempDir(), segmentsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, id)
	fmt.Fprintf(out, "Shared memory id: %d\n", id)
	return errors.Join(err, f.Close())
}

// removeSegments removes what ipcmk has made.
func removeSegments(tmp string) error {
	b, err := os.ReadFile(filepath.Join(tmp, segmentsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for line := range strings.Lines(string(b)) {
		id, err := strconv.Atoi(strings.TrimSpace(line))
		if err == nil {
			_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) { // gone already
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
