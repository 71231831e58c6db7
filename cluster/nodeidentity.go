package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/klkube/kl/cluster/statefile"
)

// NodeIdentity is what a cluster knows a node by. It is kept where no node can read or change it, so that what a node says of
// itself can be checked against it.
type NodeIdentity struct {
	Token   string     `json:"token"`            // of the node's end of the tunnel
	Address netip.Addr `json:"address,omitzero"` // that the driver assigned; invalid until the node is made
}

// ReadNodeIdentity reads the identity of a node. The error wraps fs.ErrNotExist if the cluster has no such node, and a
// damaged file is reported by name.
func ReadNodeIdentity(l Layout, node string) (NodeIdentity, error) {
	if node == "" || strings.ContainsAny(node, `/\`) { // it may come from a certificate, and becomes part of a path
		return NodeIdentity{}, fmt.Errorf("%.64q is not the name of a node", node)
	}
	data, err := statefile.Read(l.IdentityFile(node))
	if err != nil {
		return NodeIdentity{}, err
	}
	var id NodeIdentity
	if err := json.Unmarshal(data, &id); err != nil {
		return NodeIdentity{}, Damaged(l, l.IdentityFile(node), err)
	}
	if id.Token == "" {
		return NodeIdentity{}, Damaged(l, l.IdentityFile(node), errors.New("it has no token"))
	}
	return id, nil
}

// WriteNodeIdentity writes the identity of a node.
func WriteNodeIdentity(l Layout, node string, id NodeIdentity) error {
	data, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode identity of node %s: %w", node, err)
	}
	if err := statefile.MkdirAll(l.path("identities"), 0o700); err != nil {
		return err
	}
	return statefile.Replace(l.IdentityFile(node), data, 0o600)
}
