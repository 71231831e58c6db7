package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// refusedInHome are characters that mean something in what a path becomes a part of: lists of kubeconfigs and of overlay
// layers, URLs of sockets, flags that take lists, configuration files.
const refusedInHome = `:,%#?"\`

// CheckHome returns an error if $KL_HOME cannot hold the cluster, before anything is made there. The error names the place and
// whose it is, or the character that is in the way. make is for verbs that make or start a cluster, which need more. With an empty
// name, the cluster's own directories do not matter.
func CheckHome(l cluster.Layout, make bool) error {
	home := string(l.Home)
	fail := func(err error, hint string) error {
		return &cluster.Error{Op: fmt.Sprintf("use $KL_HOME %q", home), Err: err, Hint: hint}
	}
	if home == "" {
		return &cluster.Error{
			Op: "find $KL_HOME", Err: errors.New("neither KL_HOME nor HOME is set, and this user has no home directory"),
			Hint: "set KL_HOME to a directory that clusters can be kept in",
		}
	}
	bad := strings.IndexFunc(home, func(r rune) bool {
		return strings.ContainsRune(refusedInHome, r) || unicode.IsControl(r) || r == unicode.ReplacementChar
	})
	if bad >= 0 {
		return fail(fmt.Errorf("the path contains %q", []rune(home[bad:])[0]),
			"set KL_HOME to a directory whose path has none of "+strings.Join(strings.Split(refusedInHome, ""), " ")+" and no control characters")
	}
	if err := checkDirs(l, make); err != nil {
		return fail(err, "use it as the user it belongs to, or set KL_HOME to another directory")
	}
	if !make {
		return nil
	}
	if err := checkNoexec(l.Home.PayloadDir("x")); err != nil {
		return fail(err, "set KL_HOME to a directory that programs can be started from")
	}
	return checkSocketPaths(l, nil)
}

// checkDirs checks what there is of the directories of kl and the cluster.
func checkDirs(l cluster.Layout, make bool) error {
	dirs := []string{string(l.Home), l.Home.ClustersDir(), filepath.Join(string(l.Home), "locks")}
	if l.Name != "" {
		dirs = append(dirs, l.Dir(), l.RunDir(), l.PrivateDir(), l.EtcdDir())
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if dir != string(l.Home) || !make {
				continue
			}
			if err := statefile.CheckDir(above(dir)); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is a %s, not a directory", dir, statefile.Kind(info.Mode()))
		}
		if make {
			err = statefile.CheckDir(dir)
		} else if err = syscall.Access(dir, 4|1); err != nil { // to read and enter
			owner, _ := statefile.OwnerOf(info)
			err = fmt.Errorf("directory %s belongs to %s: %w", dir, statefile.UserName(owner), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// above returns the nearest directory above path that exists.
func above(path string) string {
	for {
		path = filepath.Dir(path)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return path
		}
	}
}

// checkSocketPaths returns an error if the kernel would refuse the paths of the cluster's sockets, one of which each of the
// nodes has.
func checkSocketPaths(l cluster.Layout, nodes []string) error {
	longest := len(l.RunDir()) + 1 + longestSocketName
	for _, node := range nodes {
		longest = max(longest, len(l.TunnelSocket(node)))
	}
	if longest >= socketPathLimit {
		return &cluster.Error{
			Op: "check " + l.RunDir(), Err: fmt.Errorf("socket paths of %d characters, the kernel takes %d", longest, socketPathLimit-1),
			Hint: "set KL_HOME to a directory with a shorter path, or choose shorter names for cluster and nodes",
		}
	}
	return nil
}
