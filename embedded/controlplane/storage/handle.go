package storage

import (
	"fmt"
	"strings"

	"github.com/klkube/kl/embedded/node/storage"
)

// handle names a snapshot in VolumeSnapshotContents: shared/ID, or local/NODE/ID for one on the disk of a node.
type handle struct {
	kind     storage.Kind
	node, id string
}

func (h handle) String() string {
	if h.kind == storage.Shared {
		return string(h.kind) + "/" + h.id
	}
	return string(h.kind) + "/" + h.node + "/" + h.id
}

func parseHandle(text string) (handle, error) {
	parts := strings.Split(text, "/")
	var h handle
	switch {
	case len(parts) == 2 && parts[0] == string(storage.Shared):
		h = handle{storage.Shared, "", parts[1]}
	case len(parts) == 3 && parts[0] == string(storage.NodeLocal) && parts[1] != "":
		h = handle{storage.NodeLocal, parts[1], parts[2]}
	}
	if err := storage.CheckID(h.id); err != nil {
		return handle{}, fmt.Errorf("snapshot handle %q is neither shared/ID nor local/NODE/ID", text)
	}
	return h, nil
}
