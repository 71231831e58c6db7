package pull

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klkube/kl/cluster/images"
)

// runtime is containerd's image service. It knows the images of a node some calls later than the node.
type runtime struct {
	runtimeapi.UnimplementedImageServiceServer
	node *node

	mu     sync.Mutex
	late   int
	pulled []string
}

func (r *runtime) ImageStatus(_ context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.late--; r.late >= 0 {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	have, _ := r.node.Find(context.Background(), req.GetImage().GetImage())
	if have == nil {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: have.ID.String()}}, nil
}

func (r *runtime) PullImage(_ context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulled = append(r.pulled, req.GetImage().GetImage())
	if strings.Contains(req.GetImage().GetImage(), "off:") {
		return nil, status.Error(codes.Unavailable, "connection refused")
	}
	return &runtimeapi.PullImageResponse{ImageRef: "of containerd"}, nil
}

func (r *runtime) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{Images: []*runtimeapi.Image{{Id: "listed"}}}, nil
}

func (r *runtime) StreamImages(_ *runtimeapi.StreamImagesRequest, to grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	return errors.Join(to.Send(&runtimeapi.StreamImagesResponse{}), to.Send(&runtimeapi.StreamImagesResponse{}))
}

func (r *runtime) RemoveImage(context.Context, *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return nil, status.Error(codes.Aborted, "removed")
}

func (r *runtime) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{{}}}, nil
}

func connect(t *testing.T, socket string) runtimeapi.ImageServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return runtimeapi.NewImageServiceClient(conn)
}

// serve runs a Server in front of a runtime, with a host.
func serve(t *testing.T, host http.Handler) (runtimeapi.ImageServiceClient, *runtime, *node) {
	t.Helper()
	p, n := newPuller(t, host)
	dir := t.TempDir()
	r := &runtime{node: n}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "c.sock"))
	if err != nil {
		t.Fatal(err)
	}
	behind := grpc.NewServer()
	runtimeapi.RegisterImageServiceServer(behind, r)
	go func() { _ = behind.Serve(l) }()
	t.Cleanup(behind.Stop)
	s := &Server{Socket: filepath.Join(dir, "s.sock"), Containerd: filepath.Join(dir, "c.sock"), Puller: p}
	run(t, s)() // the next one finds what it left
	t.Cleanup(run(t, s))
	return connect(t, s.Socket), r, n
}

// run runs a Server until stop is called.
func run(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	}
}

func spec(name string) *runtimeapi.ImageSpec { return &runtimeapi.ImageSpec{Image: name} }

// A newer image of the host is there before the kubelet hears of the old one.
func TestImageStatus(t *testing.T) {
	handler, asked := host(t, images.Found{From: images.FromEngine, ID: digest.FromString("x").String()}, nil)
	client, r, n := serve(t, handler)
	old := digest.FromString("old")
	n.put(fullName, images.Have{ID: old})
	r.late = 3 // containerd's list lags behind
	resp, err := client.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: spec(fullName)})
	if want := digest.FromString("archive").String(); err != nil || resp.GetImage().GetId() != want {
		t.Errorf("image is %v, %v, want %s", resp.GetImage(), err, want)
	}
	*asked = nil
	for _, name := range []string{"kl.local/pause:1", old.String(), old.Encoded(), "Not a name"} {
		if _, err := client.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: spec(name)}); err != nil {
			t.Errorf("status of %q: %v", name, err)
		}
	}
	if len(*asked) != 0 {
		t.Errorf("the host was asked for %q", *asked)
	}
}

func TestImageStatusWithoutHost(t *testing.T) {
	answer := func(status int, text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) })
	}
	torn := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"source":`) })
	lost := http.NewServeMux() // it has a newer one, and cannot give it
	found, _ := host(t, images.Found{From: images.FromEngine, ID: digest.FromString("x").String()}, nil)
	lost.Handle("POST /v1/find", found)
	lost.Handle("GET /v1/saved", answer(http.StatusBadGateway, "the engine has gone"))
	for name, test := range map[string]struct {
		host      http.Handler
		old, none string // error, with an image in the node and without
	}{
		"no connection":   {nil, "", ""},
		"not there":       {answer(http.StatusNotFound, "nowhere"), "", ""},
		"broken":          {answer(http.StatusBadGateway, "the registry of kl is damaged"), "", "the registry of kl is damaged"},
		"ends meanwhile":  {torn, "", ""},
		"newer, but gone": {lost, "the engine has gone", "the engine has gone"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, had := range []string{"old", ""} {
				client, _, n := serve(t, test.host)
				want, id := test.none, ""
				if had != "" {
					want, id = test.old, digest.FromString(had).String()
					n.put(fullName, images.Have{ID: digest.Digest(id)})
				}
				resp, err := client.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: spec(fullName)})
				if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("node has %q: error is %v, want %q", had, err, want)
				}
				if err == nil && resp.GetImage().GetId() != id {
					t.Errorf("node has %q: image is %v", had, resp.GetImage())
				}
			}
		})
	}
}

func TestPullImage(t *testing.T) {
	engine, _ := host(t, images.Found{From: images.FromEngine, ID: digest.FromString("x").String()}, nil)
	nowhere := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "it is nowhere", http.StatusNotFound) })
	for _, test := range []struct {
		name, image string
		host        http.Handler
		want        string // image; empty if it fails
		containerd  bool   // pulls it
	}{
		{"engine", "app:dev", engine, digest.FromString("archive").String(), false},
		{"engine with a name of the node", "localhost:5000/app:dev", engine, "", false}, // the engine of this test saves app:dev
		{"nowhere", "app:dev", nowhere, "", false},
		{"registry in the cluster", "localhost:30500/app", nowhere, "of containerd", true},
		{"registry in the cluster by a service", "registry.kube-system.svc:5000/app", nowhere, "of containerd", true},
		{"registry in the cluster or near it", "10.96.0.7:5000/app", nowhere, "of containerd", true},
		{"registry in the cluster that is off", "localhost:30500/off:1", nowhere, "", true},
		{"no connection", "nginx", nil, "of containerd", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, r, _ := serve(t, test.host)
			resp, err := client.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: spec(test.image)})
			if (err != nil) != (test.want == "") || resp.GetImageRef() != test.want {
				t.Errorf("pulled %v, %v, want %q", resp, err, test.want)
			}
			if slices.Contains(r.pulled, test.image) != test.containerd {
				t.Errorf("containerd pulled %q", r.pulled)
			}
			if strings.HasSuffix(test.name, "is off") && status.Convert(err).Message() != "it is nowhere; from the node: connection refused" {
				t.Errorf("error is %v", err)
			}
			if test.name == "nowhere" && (status.Code(err) != codes.NotFound || status.Convert(err).Message() != "it is nowhere") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// What the node has of a registry that cannot be asked, such as kl's own, whose image it has already, is taken.
func TestPullImageThatTheNodeHas(t *testing.T) {
	handler, _ := host(t, images.Found{From: images.FromNode}, nil)
	const name = "localhost:5000/off:1"
	for _, h := range []http.Handler{handler, nil} {
		pullOld(t, h, name)
	}
}

func pullOld(t *testing.T, host http.Handler, name string) {
	client, r, n := serve(t, host)
	n.put(name, images.Have{ID: digest.FromString("old")})
	resp, err := client.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: spec(name)})
	if err != nil || resp.GetImageRef() != digest.FromString("old").String() || !slices.Contains(r.pulled, name) {
		t.Errorf("pulled %v, %v; containerd %q", resp, err, r.pulled)
	}
}

// What the kubelet asks besides is answered by containerd.
func TestOthersPass(t *testing.T) {
	client, _, _ := serve(t, nil)
	list, err := client.ListImages(t.Context(), &runtimeapi.ListImagesRequest{})
	if err != nil || len(list.GetImages()) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	fs, err := client.ImageFsInfo(t.Context(), &runtimeapi.ImageFsInfoRequest{})
	if err != nil || len(fs.GetImageFilesystems()) != 1 {
		t.Errorf("file systems: %v, %v", fs, err)
	}
	if _, err := client.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{}); status.Code(err) != codes.Aborted {
		t.Errorf("remove: %v", err)
	}
	stream, err := client.StreamImages(t.Context(), &runtimeapi.StreamImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for {
		if _, err := stream.Recv(); err != nil {
			break
		}
		got++
	}
	if got != 2 {
		t.Errorf("%d parts of the stream, want 2", got)
	}
}

// A kubelet that gives up gets its answer.
func TestPullCancelled(t *testing.T) {
	release := make(chan struct{})
	client, _, _ := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.PullImage(ctx, &runtimeapi.PullImageRequest{Image: spec("app:dev")}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error is %v", err)
	}
}
