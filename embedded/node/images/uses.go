package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	coreimages "github.com/containerd/containerd/v2/core/images"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klkube/kl/cluster"
)

// source says where an image came from.
func source(image coreimages.Image) string {
	switch {
	case image.Name == cluster.PauseImage:
		return "part of kl"
	case image.Labels[sourceKey] != "":
		return image.Labels[sourceKey]
	case image.Labels[pinKey] == pinned:
		return "loaded"
	}
	return ""
}

// listUses returns the pods that use images, by the digest of the configuration.
func (s *Store) listUses(ctx context.Context) (map[string][]cluster.ImageUse, error) {
	if s.uses != nil {
		return s.uses(ctx)
	}
	conn, ok := s.client.Conn().(grpc.ClientConnInterface)
	if !ok {
		return nil, errors.New("list containers: containerd has no connection for the CRI")
	}
	resp, err := runtimeapi.NewRuntimeServiceClient(conn).ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return usesOf(resp.GetContainers()), nil
}

// Labels that the kubelet gives its containers.
const (
	labelNamespace = "io.kubernetes.pod.namespace"
	labelPod       = "io.kubernetes.pod.name"
)

func usesOf(containers []*runtimeapi.Container) map[string][]cluster.ImageUse {
	uses := map[string][]cluster.ImageUse{}
	for _, c := range containers {
		use := cluster.ImageUse{
			Pod:  c.GetLabels()[labelNamespace] + "/" + c.GetLabels()[labelPod],
			Name: cmp.Or(c.GetImage().GetUserSpecifiedImage(), c.GetImage().GetImage()),
		}
		if use.Pod == "/" { // crictl made it
			use.Pod = "container " + c.GetMetadata().GetName()
		}
		if ref := c.GetImageRef(); !slices.Contains(uses[ref], use) {
			uses[ref] = append(uses[ref], use)
		}
	}
	for _, list := range uses {
		slices.SortFunc(list, func(a, b cluster.ImageUse) int { return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Name, b.Name)) })
	}
	return uses
}
