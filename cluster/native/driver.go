//go:build linux

package native

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/klkube/kl/cluster"
)

// runDir holds runc's state. Like the processes of the nodes, it does not survive a restart of the machine.
const runDir = cluster.RunDir

// Driver makes nodes with runc and the kernel alone. It is safe for concurrent use, also by several processes.
type Driver struct {
	root       string // Home/embedded
	log        *slog.Logger
	supervisor string
}

var (
	_ cluster.Driver   = (*Driver)(nil)
	_ cluster.Starter  = (*Driver)(nil)
	_ cluster.Pauser   = (*Driver)(nil)
	_ cluster.Execer   = (*Driver)(nil)
	_ cluster.Cleaner  = (*Driver)(nil)
	_ cluster.Mender   = (*Driver)(nil)
	_ cluster.Rehomer  = (*Driver)(nil)
	_ cluster.Orphaner = (*Driver)(nil)
	_ cluster.Filer    = (*Driver)(nil)
)

// New returns a driver. The error wraps [cluster.ErrNoEngine] unless this is Linux and the user is root.
func New(_ context.Context, o Options) (*Driver, error) {
	if !filepath.IsAbs(o.Home) {
		return nil, fmt.Errorf("make nodes without an engine: home %q is not an absolute path", o.Home)
	}
	if os.Geteuid() != 0 {
		return nil, &cluster.Error{
			Op: "make nodes without an engine", Err: fmt.Errorf("%w and you are not root", cluster.ErrNoEngine),
			Hint: "use sudo, or start Docker and use --driver docker",
		}
	}
	home := string(cluster.Home(o.Home).Real()) // the IDs below are made of it
	d := &Driver{root: filepath.Join(home, "embedded"), log: o.Logger, supervisor: o.Supervisor}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.supervisor == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		d.supervisor = exe
	}
	return d, nil
}

// Name is embedded.
func (d *Driver) Name() cluster.DriverName { return cluster.DriverEmbedded }

// Close does nothing: there is no connection to close, and nodes keep running.
func (d *Driver) Close() error { return nil }

// Files returns the logs of a node's supervisor and of its console, and its /var.
func (d *Driver) Files(n cluster.Node) (logs []string, varDir string) {
	b := d.bundle(n.Cluster, n.Name)
	return []string{b.supervisorLog(), b.console()}, b.varDir()
}

// scope names what the kernel holds for a cluster.
type scope struct{ id string }

func (d *Driver) scope(clusterName string) scope { return scopeOf(filepath.Join(d.root, clusterName)) }

// scopeOf derives the names from a cluster's directory: clusters of the same name may exist in several homes.
func scopeOf(clusterDir string) scope {
	sum := sha256.Sum256([]byte(clusterDir))
	return scope{hex.EncodeToString(sum[:4])}
}

func (s scope) bridge() string { return "kl-" + s.id } // an interface's name has at most 15 characters
func (s scope) table() string  { return "kl-" + s.id }
func (s scope) cgroup() string { return "/kl-" + s.id }
func (s scope) runc() string   { return filepath.Join(runDir, s.id) }

// veth returns the name of the host's end of a node's veth pair.
func (s scope) veth(node string) string {
	sum := sha256.Sum256([]byte(s.id + "/" + node))
	return "klv" + hex.EncodeToString(sum[:6])
}

// mac returns a locally administered address. It is the same each time an interface is made, so that the neighbour caches
// of others stay valid.
func (s scope) mac(name string) []byte {
	sum := sha256.Sum256([]byte(s.id + "/mac/" + name))
	return append([]byte{0x02}, sum[:5]...)
}
