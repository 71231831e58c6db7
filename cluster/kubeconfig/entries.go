package kubeconfig

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"go.yaml.in/yaml/v3"
)

// entries are what a cluster adds to a kubeconfig: one cluster, one user, one context.
type entries struct {
	owner
	cluster, user map[string]string
}

// owner tells the entries of one cluster from those of all others. Names do not: another KL_HOME may have a cluster of that
// name, and a person may rename what kl has added.
type owner struct {
	name string              // of the context, cluster and user that kl adds, unless another cluster's have it
	dir  string              // the cluster's directory
	cas  []*x509.Certificate // its authorities, also those that were replaced and are still trusted, as far as its files are intact
}

// extension is the name under which an entry says whose it is.
const extension = "dev.kl"

func ownerOf(l cluster.Layout) owner {
	o := owner{name: cluster.ContextName(l.Name), dir: l.Dir()}
	if ca, err := statefile.Read(l.Trust("ca")); err == nil {
		o.cas = certificates(ca)
	}
	if own, err := load(l.Kubeconfig()); err == nil { // which tells, if ca.crt is damaged
		for _, item := range items(own.root(), clustersList) {
			o.cas = append(o.cas, certificates(decoded(body(item, clustersList), "certificate-authority-data"))...)
		}
	}
	return o
}

func adminEntries(l cluster.Layout, port int) (entries, error) {
	encoded := map[string]string{}
	ca := l.Trust("ca")
	for _, file := range []string{ca, l.PKI("admin.crt"), l.PKI("admin.key")} {
		data, err := statefile.Read(file)
		if err != nil {
			return entries{}, cluster.Damaged(l, file, err)
		}
		encoded[file] = base64.StdEncoding.EncodeToString(data)
	}
	return entries{
		owner: ownerOf(l),
		cluster: map[string]string{
			"certificate-authority-data": encoded[ca],
			"server":                     ServerURL(port),
		},
		user: map[string]string{
			"client-certificate-data": encoded[l.PKI("admin.crt")],
			"client-key-data":         encoded[l.PKI("admin.key")],
		},
	}, nil
}

// put adds the entries to a kubeconfig, or brings those that are there up to date, and returns the context's name. What a
// person has added to them, and new names, stay.
func (e entries) put(f *file) (context string) {
	root := f.root()
	name := ""
	for _, item := range items(root, clustersList) {
		if e.owns(item, f.path) {
			name = text(item, "name")
			setStrings(body(item, clustersList), e.cluster)
			break
		}
	}
	if name == "" {
		name = e.choose(root)
		for _, list := range []string{clustersList, usersList, contextsList} {
			drop(root, list, func(item *yaml.Node) bool { return text(item, "name") == name })
		}
		sign(add(root, clustersList, name, e.cluster), e.dir)
	}
	c := e.contextOf(root, name)
	if c == nil {
		add(root, contextsList, name, map[string]string{"cluster": name, "user": name})
		c = find(root, contextsList, name)
	}
	user := text(body(c, contextsList), "user")
	switch item := find(root, usersList, user); {
	case item == nil:
		add(root, usersList, user, e.user)
	case user == name || e.issued(item):
		setStrings(body(item, usersList), e.user)
	}
	return text(c, "name")
}

// contextOf returns the context of the cluster that is called that here: preferably the one of that name, which may have
// been renamed. It returns nil if there is none.
func (e entries) contextOf(root *yaml.Node, name string) (context *yaml.Node) {
	for _, item := range items(root, contextsList) {
		c := body(item, contextsList)
		if c == nil || text(c, "cluster") != name {
			continue
		}
		if text(item, "name") == name {
			return item
		}
		user := find(root, usersList, text(c, "user"))
		if context == nil && (user == nil || text(user, "name") == name || e.issued(user)) {
			context = item
		}
	}
	return context
}

// choose returns a name for new entries: the usual one, unless a cluster has it that is not known to be gone.
func (e entries) choose(root *yaml.Node) string {
	c, x := find(root, clustersList, e.name), find(root, contextsList, e.name)
	taken := c != nil && !stale(body(c, clustersList))
	if x != nil {
		to := text(body(x, contextsList), "cluster")
		taken = taken || to != e.name && find(root, clustersList, to) != nil
	}
	if !taken {
		return e.name
	}
	sum := sha256.Sum256([]byte(e.cluster["certificate-authority-data"]))
	return e.name + "-" + hex.EncodeToString(sum[:3])
}

// sign writes into a cluster entry whose it is.
func sign(entry *yaml.Node, dir string) {
	var list yaml.Node
	if err := list.Encode([]any{map[string]any{"name": extension, "extension": map[string]string{"directory": dir}}}); err != nil {
		panic(err) // maps of strings always encode
	}
	*fieldOf(entry, "extensions") = list
}

// signedBy returns the directory that sign has written; empty if there is none.
func signedBy(entry *yaml.Node) string {
	if entry == nil {
		return ""
	}
	list := lookup(entry, "extensions")
	if list == nil {
		return ""
	}
	for _, x := range list.Content {
		if value := lookup(x, "extension"); text(x, "name") == extension && value != nil {
			return text(value, "directory")
		}
	}
	return ""
}

// stale reports whether a cluster entry is of a cluster of kl that is gone, or that was made again.
func stale(entry *yaml.Node) bool {
	dir := signedBy(entry)
	if dir == "" {
		return false
	}
	l := cluster.Home(filepath.Dir(filepath.Dir(dir))).Cluster(filepath.Base(dir))
	ca, err := statefile.Read(l.Trust("ca"))
	return os.IsNotExist(err) || err == nil && !shareOne(certificates(ca), certificates(decoded(entry, "certificate-authority-data")))
}

// owns reports whether a cluster entry of the kubeconfig at path is this cluster's.
func (o owner) owns(item *yaml.Node, path string) bool {
	entry := body(item, clustersList)
	if entry == nil {
		return false
	}
	if o.cas == nil {
		return signedBy(entry) == o.dir
	}
	ca := decoded(entry, "certificate-authority-data")
	if file := text(entry, "certificate-authority"); ca == nil && file != "" {
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		ca, _ = statefile.Read(file)
	}
	return shareOne(o.cas, certificates(ca))
}

// issued reports whether a user entry has a certificate of this cluster.
func (o owner) issued(item *yaml.Node) bool {
	certs := certificates(decoded(body(item, usersList), "client-certificate-data"))
	return len(certs) > 0 && slices.ContainsFunc(o.cas, func(ca *x509.Certificate) bool { return certs[0].CheckSignatureFrom(ca) == nil })
}

// names are what a cluster's entries are called, in one or several files.
type names struct {
	clusters, contexts map[string]bool
}

func newNames() names { return names{map[string]bool{}, map[string]bool{}} }

// find adds what a file has of the cluster. Contexts may come before their cluster, in another file: call it twice.
func (o owner) find(f *file, n names) {
	for _, item := range items(f.root(), clustersList) {
		if o.owns(item, f.path) {
			n.clusters[text(item, "name")] = true
		}
	}
	for _, item := range items(f.root(), contextsList) {
		if o.leads(f, item, n) {
			n.contexts[text(item, "name")] = true
		}
	}
}

// leads reports whether a context leads to the cluster.
func (o owner) leads(f *file, item *yaml.Node, n names) bool {
	to := text(body(item, contextsList), "cluster")
	there := find(f.root(), clustersList, to)
	return n.clusters[to] && (there == nil || o.owns(there, f.path))
}

// withdraw removes the cluster, its contexts, whatever they are called, its users, and the current context if it is one of
// them.
func (o owner) withdraw(f *file, n names) {
	root := f.root()
	if current := lookup(root, "current-context"); current != nil && n.contexts[current.Value] {
		if c := find(root, contextsList, current.Value); c == nil || o.leads(f, c, n) {
			setString(root, "current-context", "")
		}
	}
	users := map[string]bool{}
	drop(root, contextsList, func(item *yaml.Node) bool {
		if o.leads(f, item, n) {
			users[text(body(item, contextsList), "user")] = true
			return true
		}
		return false
	})
	drop(root, clustersList, func(item *yaml.Node) bool { return o.owns(item, f.path) })
	for _, item := range items(root, contextsList) {
		delete(users, text(body(item, contextsList), "user"))
	}
	drop(root, usersList, func(item *yaml.Node) bool {
		name := text(item, "name")
		return o.issued(item) || users[name] && n.clusters[name]
	})
}

func decoded(entry *yaml.Node, key string) []byte {
	data, err := base64.StdEncoding.DecodeString(text(entry, key))
	if err != nil || len(data) == 0 {
		return nil
	}
	return data
}

// shareOne reports whether two lists have a certificate in common.
func shareOne(a, b []*x509.Certificate) bool {
	return slices.ContainsFunc(a, func(c *x509.Certificate) bool { return slices.ContainsFunc(b, c.Equal) })
}

// certificates returns those of PEM data that can be read.
func certificates(data []byte) (list []*x509.Certificate) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			list = append(list, cert)
		}
	}
	return list
}
