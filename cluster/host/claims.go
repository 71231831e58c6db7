package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
)

// checkClaims refuses to remove nodes while claims or snapshots have their data there, unless it was asked for, or confirm, which
// may be nil, agrees. It has no say in volumes of pods, which go with their pod, nor in shared ones, which stay.
func (c *change) checkClaims(ctx context.Context, nodes []string, confirm func(ctx context.Context, question string) bool) error {
	found, err := c.data(ctx, nodes)
	if err != nil {
		return &cluster.Error{
			Op: "look for claims with data on " + strings.Join(nodes, ", "), Err: err,
			Hint: "with --delete-volumes the data is removed unseen",
		}
	}
	if len(found) == 0 {
		return nil
	}
	what := strings.Join(found, ", ")
	if confirm != nil && confirm(ctx, fmt.Sprintf("The data of %s goes with %s.", what, strings.Join(nodes, ", "))) {
		return nil
	}
	return &cluster.Error{
		Op: "remove " + strings.Join(nodes, ", "), Err: fmt.Errorf("%w: %s", errData, what),
		Hint: "save the data; --delete-volumes removes it",
	}
}

var errData = errors.New("claims have their data there")

// objects is what claims needs to know of PersistentVolumes and PersistentVolumeClaims.
type objects struct {
	Items []struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name, Namespace string
			OwnerReferences []struct{ Kind string } `json:"ownerReferences"`
		} `json:"metadata"`
		Spec struct {
			ClaimRef     *struct{ Namespace, Name string } `json:"claimRef"`
			NodeAffinity struct {
				Required struct {
					NodeSelectorTerms []struct {
						MatchExpressions []struct {
							Operator string
							Values   []string
						} `json:"matchExpressions"`
					} `json:"nodeSelectorTerms"`
				} `json:"required"`
			} `json:"nodeAffinity"`
		} `json:"spec"`
	} `json:"items"`
}

// data lists what is on one of the nodes and nowhere else: claims, as namespace/name, and snapshots.
func (c *change) data(ctx context.Context, nodes []string) ([]string, error) {
	claims, err := c.claims(ctx, nodes)
	if err != nil {
		return nil, err
	}
	snapshots, err := c.snapshots(ctx, nodes)
	return append(claims, snapshots...), err
}

// snapshotContents is what snapshots needs to know of VolumeSnapshotContents.
type snapshotContents struct {
	Items []struct {
		Spec struct {
			Driver            string
			VolumeSnapshotRef struct{ Namespace, Name string } `json:"volumeSnapshotRef"`
		} `json:"spec"`
		Status struct {
			SnapshotHandle string `json:"snapshotHandle"`
		} `json:"status"`
	} `json:"items"`
}

// snapshots lists the VolumeSnapshots of kl's driver whose data is on one of the nodes. A cluster that never had storage has no such API.
func (c *change) snapshots(ctx context.Context, nodes []string) ([]string, error) {
	const resource = "volumesnapshotcontents.snapshot.storage.k8s.io"
	var all snapshotContents
	err := c.read(ctx, &all, "get", resource)
	if err != nil && strings.Contains(err.Error(), "the server doesn't have a resource type") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, i := range all.Items {
		parts := strings.Split(i.Status.SnapshotHandle, "/") // local/NODE/ID, or shared/ID
		if i.Spec.Driver == cluster.StorageDriver && len(parts) == 3 && slices.Contains(nodes, parts[1]) {
			found = append(found, "VolumeSnapshot "+i.Spec.VolumeSnapshotRef.Namespace+"/"+i.Spec.VolumeSnapshotRef.Name)
		}
	}
	slices.Sort(found)
	return found, nil
}

// claims lists the claims whose volumes are on one of the nodes and nowhere else, as namespace/name.
func (c *change) claims(ctx context.Context, nodes []string) ([]string, error) {
	var all objects
	if err := c.read(ctx, &all, "get", "persistentvolumes,persistentvolumeclaims", "--all-namespaces"); err != nil {
		return nil, err
	}
	ofPods, found := map[string]bool{}, []string{}
	for _, i := range all.Items {
		if len(i.Metadata.OwnerReferences) > 0 && i.Metadata.OwnerReferences[0].Kind == "Pod" {
			ofPods[i.Metadata.Namespace+"/"+i.Metadata.Name] = true
		}
	}
	for _, i := range all.Items {
		if i.Kind != "PersistentVolume" || i.Spec.ClaimRef == nil {
			continue
		}
		claim := i.Spec.ClaimRef.Namespace + "/" + i.Spec.ClaimRef.Name
		for _, term := range i.Spec.NodeAffinity.Required.NodeSelectorTerms {
			for _, e := range term.MatchExpressions {
				if e.Operator == "In" && len(e.Values) == 1 && slices.Contains(nodes, e.Values[0]) && !ofPods[claim] {
					found = append(found, claim)
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}
