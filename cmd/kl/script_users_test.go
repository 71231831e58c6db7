//go:build e2e

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// asUser runs a program as a user who may use the Docker engine, if there is one, as after a login: $HOME alone says where the user's files are.
const asUser = `user=$1 home=$(getent passwd "$1" | cut -d: -f6)
shift
group=$(stat -c %g /var/run/docker.sock 2>/dev/null || id -g "$user")
test "$group" != 0 || group=$(id -g "$user")
exec setpriv --reuid "$user" --regid "$(id -g "$user")" --groups "$group" env -i HOME="$home" USER="$user" \
	PATH="$USERS/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"`

// usersCommand is "users VARIABLE…": makes a user for each variable and sets it to the user's name, and $USERS to a directory
// with the home directories, named as the variables are, with bin/kl, and ROOT if the script makes it. At the end of the script all of it is removed. Programs
// run as one of the users with "exec as USER PROGRAM ARGS…".
func usersCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: users VARIABLE…")
	}
	base, err := os.MkdirTemp("", "klu") // short, for sockets
	ts.Check(err)
	bin := filepath.Join(base, "bin")
	ts.Defer(func() {
		removeHome(ts, filepath.Join(base, "ROOT"), bin)
		ts.Check(removeTree(base))
	})
	ts.Check(os.Chmod(base, 0o755))
	ts.Check(os.Mkdir(bin, 0o755))
	ts.Check(ts.Exec("install", "-m", "755", ts.Getenv("KL"), filepath.Join(bin, "kl")))
	ts.Setenv("USERS", base)
	for _, variable := range args {
		name := "kl-" + strings.ToLower(rand.Text()[:8])
		home := filepath.Join(base, variable)
		ts.Check(ts.Exec("useradd", "--create-home", "--home-dir", home, "--shell", "/bin/sh", "--user-group", name))
		ts.Defer(func() { removeUser(ts, name, home, bin) })
		ts.Check(os.Chmod(home, 0o755)) // as some distributions have it: what is below must be safe all the same
		ts.Setenv(variable, name)
	}
}

// removeUser removes a user's clusters, what still runs as the user, and the user.
func removeUser(ts *testscript.TestScript, name, home, bin string) {
	if _, err := os.Stat(filepath.Join(home, ".kl", "clusters")); err == nil {
		_ = ts.Exec("as", name, "kl", "down", "--all") // some may be root's
	}
	removeHome(ts, home, bin)
	uid := uidOf(ts, name)
	for range 100 {
		pids := processesOfUser(uid)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Check(removeTree(home))
	ts.Check(ts.Exec("userdel", name))
}

// removeHome removes what is left of a home, as root.
func removeHome(ts *testscript.TestScript, home, bin string) {
	if _, err := os.Stat(filepath.Join(home, ".kl", "clusters")); err == nil {
		ts.Check(ts.Exec("env", "HOME="+home, "KL_HOME=", filepath.Join(bin, "kl"), "down", "--all"))
	}
}

func uidOf(ts *testscript.TestScript, name string) int {
	u, err := osuser.Lookup(name)
	ts.Check(err)
	uid, err := strconv.Atoi(u.Uid)
	ts.Check(err)
	if uid == 0 {
		ts.Fatalf("%s is root", name)
	}
	return uid
}

func processesOfUser(uid int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		var s syscall.Stat_t
		if syscall.Stat(dir, &s) == nil && int(s.Uid) == uid {
			if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// intrudeCommand is "[!] intrude USER PATH [ALLOWED]": as the user, with no other groups than the user's own, tries to read and
// write every file below PATH, to make a file in every directory and to connect to every unix socket. It fails if anything succeeds but
// what matches the pattern ALLOWED; with ! it fails if nothing does, or there is no file, directory or socket to try.
func intrudeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: [!] intrude USER PATH [ALLOWED]")
	}
	targets := map[string][]string{}
	err := filepath.WalkDir(args[1], func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			targets["directory"] = append(targets["directory"], path)
		case d.Type().IsRegular():
			targets["file"] = append(targets["file"], path)
		case d.Type()&fs.ModeSocket != 0:
			targets["socket"] = append(targets["socket"], path)
		}
		return nil
	})
	ts.Check(err)
	if len(targets["directory"]) == 0 || len(targets["file"]) == 0 {
		ts.Fatalf("nothing to try below %s: %v", args[1], targets)
	}
	var got []string
	ts.Check(actAs(uidOf(ts, args[0]), func() { got = intrude(targets) }))
	if len(args) == 3 {
		allowed := regexp.MustCompile(args[2])
		got = slices.DeleteFunc(got, allowed.MatchString)
	}
	ts.Logf("%d directories, %d files, %d sockets: %d successes", len(targets["directory"]), len(targets["file"]), len(targets["socket"]), len(got))
	if (len(got) > 0) != neg {
		ts.Fatalf("%s below %s: %s", args[0], args[1], strings.Join(got[:min(len(got), 40)], "\n"))
	}
}

// intrude tries everything and returns what succeeded.
func intrude(targets map[string][]string) (got []string) {
	for _, dir := range targets["directory"] {
		probe := filepath.Join(dir, ".probe-"+rand.Text())
		if f, err := os.OpenFile(probe, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
			f.Close()
			_ = os.Remove(probe)
			got = append(got, "writes to directory "+dir)
		}
		if _, err := os.ReadDir(dir); err == nil {
			got = append(got, "lists directory "+dir)
		}
	}
	for _, path := range targets["file"] {
		for flag, what := range map[int]string{os.O_RDONLY: "reads ", os.O_WRONLY: "writes "} {
			if f, err := os.OpenFile(path, flag, 0); err == nil {
				f.Close()
				got = append(got, what+path)
			}
		}
	}
	for _, path := range targets["socket"] {
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			got = append(got, "connects to "+path)
		}
	}
	slices.Sort(got)
	return got
}

// actAs runs f in a thread that is the user, whose group has the same number, and has no rights of root. The thread ends with f.
func actAs(uid int, f func()) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()                    // and not unlocked: the runtime ends the thread with the goroutine
		if syscall.Gettid() == syscall.Getpid() { // but for the first thread, which the process goes by
			done <- actAs(uid, f)
			runtime.UnlockOSThread()
			return
		}
		for _, call := range [][4]uintptr{
			{syscall.SYS_SETGROUPS, 0, 0, 0},
			{syscall.SYS_SETRESGID, uintptr(uid), uintptr(uid), uintptr(uid)},
			{syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, errno := syscall.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				done <- fmt.Errorf("become user %d: %w", uid, errno)
				return
			}
		}
		f()
		done <- nil
	}()
	return <-done
}

func isRoot() bool {
	_, err := exec.LookPath("useradd")
	return err == nil && os.Geteuid() == 0
}
