package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	osuser "os/user"
	"strconv"
	"syscall"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// supervisor returns the command that runs a cluster's control plane.
func (h *Host) supervisor(l cluster.Layout, engine string) (*exec.Cmd, error) {
	as, err := runAs(l)
	if err != nil {
		return nil, err
	}
	program, path := h.Supervisor, h.Supervisor
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		path = program
		if as != nil {
			path = "/proc/self/exe" // the program may be where the user cannot go
		}
	}
	// Not CommandContext: the process outlives this one.
	cmd := exec.Command(path, SuperviseCommand, l.Dir(), engine) //nolint:noctx
	cmd.Args[0], cmd.Dir = program, l.Dir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as}
	return cmd, nil
}

// runAs returns whom root starts a control plane as, in the directory of another user: that user, to whom all that it writes then
// belongs, and with whose rights it does so. One that restarts real nodes needs root's own rights, or the container engine, which the
// user may not have a right to, and so stays root's. The result is nil for the user of this process.
func runAs(l cluster.Layout) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nobody else
	}
	spec, err := cluster.ReadSpec(l)
	if err != nil || spec.Driver != cluster.DriverSimulated {
		return nil, err
	}
	info, err := os.Stat(l.Dir())
	if err != nil {
		return nil, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Uid == 0 {
		return nil, nil //nolint:nilnil // nobody else
	}
	as := &syscall.Credential{Uid: s.Uid, Gid: s.Gid}
	who, err := osuser.LookupId(strconv.Itoa(int(s.Uid)))
	if err != nil {
		return as, nil //nolint:nilerr // a user without a name has no more groups
	}
	groups, err := who.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("find the groups of %s: %w", who.Username, err)
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			as.Groups = append(as.Groups, uint32(n))
		}
	}
	return as, nil
}

// ofAnother explains an error that comes from files of another user, such as root: whose cluster this is. Other errors it returns as
// they are.
func ofAnother(l cluster.Layout, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return cmp.Or(anothers(l), err)
}

// anothers returns an error if the cluster's control plane is another user's, which only root and that user can end. To remove its
// nodes without it would leave half a cluster.
func anothers(l cluster.Layout) error {
	if os.Geteuid() == 0 {
		return nil
	}
	for _, file := range []string{l.PIDFile(), l.SupervisorFile(), l.EtcdDir(), l.Dir()} {
		info, statErr := os.Stat(file)
		if statErr != nil {
			continue
		}
		if owner, ok := statefile.OwnerOf(info); ok && owner != os.Geteuid() {
			return fmt.Errorf("the control plane is that of %s, who alone can see and change it: %w", statefile.UserName(owner), fs.ErrPermission)
		}
	}
	return nil
}
