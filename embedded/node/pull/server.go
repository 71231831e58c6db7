package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/embedded/lifecycle"
)

const (
	// maxMessage is as in the kubelet's client.
	maxMessage = 16 << 20
	// The CRI plugin learns of images by events, soon after they are there.
	knownInterval = 5 * time.Millisecond
	knownTimeout  = 10 * time.Second
	// builtIn begins the names of kl's own images, which are nowhere else.
	builtIn = "kl.local/"
)

// Server is the CRI's image service for the kubelet: containerd's, except that what the host has is brought to the node before a
// container starts or a pull begins. It is a component; its fields are set before Run and not changed.
type Server struct {
	Socket     string // to listen on
	Containerd string // its socket
	Puller     *Puller

	runtimeapi.UnimplementedImageServiceServer
	next runtimeapi.ImageServiceClient
}

var _ lifecycle.Component = (*Server)(nil)

// Name implements lifecycle.Component.
func (s *Server) Name() cluster.ComponentName { return "image-service" }

// Run implements lifecycle.Component. It is ready once the kubelet can connect.
func (s *Server) Run(ctx context.Context, ready func()) error {
	conn, err := grpc.NewClient("unix://"+s.Containerd, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	defer conn.Close()
	s.next = runtimeapi.NewImageServiceClient(conn)
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier process
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", s.Socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.WaitForHandlers(true))
	runtimeapi.RegisterImageServiceServer(server, s)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	ready()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// ImageStatus implements the CRI. The kubelet asks before it starts a container, unless it pulls anyway: an image that the host's machine
// has a newer build of is replaced before the answer.
func (s *Server) ImageStatus(ctx context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	if name := r.GetImage().GetImage(); isName(name) {
		pulled, err := s.Puller.Pull(ctx, name, false, nil)
		switch {
		case err == nil:
			if err := s.known(ctx, pulled); err != nil {
				return nil, err
			}
		case errors.Is(err, cluster.ErrNoImage) || errors.Is(err, ErrNotConnected): // what the node has counts
		default:
			s.Puller.Logger.Warn("an image cannot be renewed", "image", name, "err", err)
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	return s.next.ImageStatus(ctx, r)
}

// PullImage implements the CRI. What the host does not find in registries that may be reached from the node alone, such as one that runs
// in the cluster, is containerd's to pull; and everything if the host cannot be asked.
func (s *Server) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	name := r.GetImage().GetImage()
	if !isName(name) {
		return s.next.PullImage(ctx, r)
	}
	reach := reachOf(name)
	pulled, err := s.Puller.Pull(ctx, name, reach != fromNode, authOf(r.GetAuth()))
	switch {
	case err == nil && reach == fromNode && pulled.From == images.FromNode: // there may be a newer one
		if resp, failed := s.next.PullImage(ctx, r); failed == nil {
			return resp, nil
		}
		return &runtimeapi.PullImageResponse{ImageRef: pulled.ID.String()}, nil
	case err == nil:
		if err := s.known(ctx, pulled); err != nil {
			return nil, err
		}
		return &runtimeapi.PullImageResponse{ImageRef: pulled.ID.String()}, nil
	case ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, ErrNotConnected):
		resp, failed := s.next.PullImage(ctx, r)
		if failed != nil && pulled.ID != "" { // as with a host that cannot reach the registry
			s.Puller.Logger.Warn("the node's image stays, since neither host nor registry can be asked", "image", name, "err", failed)
			return &runtimeapi.PullImageResponse{ImageRef: pulled.ID.String()}, nil
		}
		return resp, failed
	case reach == fromBoth || reach == fromNode && errors.Is(err, cluster.ErrNoImage):
		resp, failed := s.next.PullImage(ctx, r)
		if failed == nil {
			return resp, nil
		}
		err = fmt.Errorf("%w; from the node: %s", err, status.Convert(failed).Message())
	}
	s.Puller.Logger.Warn("an image cannot be pulled", "image", name, "err", err)
	code := codes.Unknown
	if errors.Is(err, cluster.ErrNoImage) {
		code = codes.NotFound
	}
	return nil, status.Error(code, err.Error())
}

// known waits until the CRI plugin knows an image that was brought to the node.
func (s *Server) known(ctx context.Context, p Pulled) error {
	if p.From == images.FromNode {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, knownTimeout, fmt.Errorf("containerd does not list image %s, which it has", p.Image))
	defer cancel()
	tick := time.NewTicker(knownInterval)
	defer tick.Stop()
	for {
		r, err := s.next.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: p.Image}})
		if err == nil && r.GetImage().GetId() == p.ID.String() {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return status.Error(codes.Internal, errors.Join(context.Cause(ctx), err).Error())
		}
	}
}

// isName reports whether the kubelet asks for an image by a name that the host may know. It also does by ID.
func isName(name string) bool {
	if digest.Digest(name).Validate() == nil || digest.NewDigestFromEncoded(digest.SHA256, name).Validate() == nil {
		return false
	}
	_, err := reference.ParseNormalizedNamed(name)
	return err == nil && !strings.HasPrefix(name, builtIn)
}

// reach is where a registry can be reached from.
type reach int

const (
	fromHost reach = iota
	fromNode       // its address means something else, or nothing, outside of the cluster
	fromBoth       // perhaps
)

func reachOf(name string) reach {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return fromHost
	}
	host, _, err := net.SplitHostPort(reference.Domain(ref))
	if err != nil {
		host = reference.Domain(ref)
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "localhost" || err == nil && addr.IsLoopback() || strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".cluster.local"):
		return fromNode
	case err == nil && addr.IsPrivate():
		return fromBoth
	}
	return fromHost
}

func authOf(a *runtimeapi.AuthConfig) *images.Auth {
	if a == nil {
		return nil
	}
	return &images.Auth{
		Username: a.GetUsername(), Password: a.GetPassword(), Auth: a.GetAuth(), IdentityToken: a.GetIdentityToken(), RegistryToken: a.GetRegistryToken(),
	}
}

// ListImages implements the CRI.
func (s *Server) ListImages(ctx context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return s.next.ListImages(ctx, r)
}

// StreamImages implements the CRI.
func (s *Server) StreamImages(r *runtimeapi.StreamImagesRequest, to grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	from, err := s.next.StreamImages(to.Context(), r)
	if err != nil {
		return err
	}
	for {
		part, err := from.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := to.Send(part); err != nil {
			return err
		}
	}
}

// RemoveImage implements the CRI.
func (s *Server) RemoveImage(ctx context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return s.next.RemoveImage(ctx, r)
}

// ImageFsInfo implements the CRI.
func (s *Server) ImageFsInfo(ctx context.Context, r *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return s.next.ImageFsInfo(ctx, r)
}
