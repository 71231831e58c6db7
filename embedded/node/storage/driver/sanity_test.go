//go:build linux

package driver

import (
	"context"
	"errors"
	"flag"
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/klkube/kl/embedded/node/storage"
)

// notSanity says which parts of kubernetes-csi's suite do not apply, and why.
func notSanity() map[string]string {
	const controller = "Controller Service [Controller Server] "
	return map[string]string{
		controller + "GetCapacity":                                 "capacity is part of storage.Agent.State",
		controller + "ListVolumes":                                 "the API server has the list of volumes",
		controller + "ValidateVolumeCapabilities":                  "kl's control plane checks access modes, in embedded/controlplane/storage",
		controller + "ControllerPublishVolume":                     "nothing is attached to a node before it is mounted",
		controller + "ControllerUnpublishVolume":                   "nothing is attached to a node before it is mounted",
		"volume with already existing name and different capacity": "storage.Agent.Put makes it larger: that is how volumes grow",
		"volume attribute class":                                   "there is nothing of a volume to modify",
		"ExpandVolume [Controller Server]":                         "kl's control plane grows volumes over the nodes' API, in storage.Agent.Put",
		controller + "volume lifecycle":                            "it attaches volumes to nodes",
		"ModifyVolume [Controller Server]":                         "there is nothing of a volume to modify",
		"GroupController Service":                                  "there are no groups of volumes",
		"CreateVolumeGroupSnapshot":                                "there are no groups of volumes",
		"GetVolumeGroupSnapshot":                                   "there are no groups of volumes",
		"DeleteVolumeGroupSnapshot":                                "there are no groups of volumes",
		"Node Service NodeStageVolume":                             "nothing is staged",
		"Node Service NodeUnstageVolume":                           "nothing is staged",
		"Node Service NodeExpandVolume":                            "nothing is left for a node to do when a volume has grown",
		"Node Service NodeGetVolumeHealth":                         "volumes have no condition of their own",
		"Node Service NodeGetStorageHealth":                        "volumes have no condition of their own",
		"ControllerGetVolumeHealth [Controller Server]":            "volumes have no condition of their own",
		"ControllerListVolumeHealth [Controller Server]":           "volumes have no condition of their own",
		"GetSnapshot [Controller Server]":                          "the nodes' API lists snapshots, and has no call for one",
		"snapshot with accessibility requirements":                 "kl's control plane knows where snapshots are, in embedded/controlplane/storage",
	}
}

// maker does with volumes and snapshots what the suite asks for over the nodes' API, as the control plane does, since the driver has no CSI
// controller service.
type maker struct {
	csi.UnimplementedControllerServer
	identity
	agent storage.Agent
}

// GetPluginCapabilities makes the suite create volumes.
func (m maker) GetPluginCapabilities(ctx context.Context, r *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	own, err := m.identity.GetPluginCapabilities(ctx, r)
	own.Capabilities = append(own.Capabilities, &csi.PluginCapability{Type: &csi.PluginCapability_Service_{
		Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE},
	}})
	return own, err
}

func (m maker) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	var list []*csi.ControllerServiceCapability
	for _, c := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME, csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT, csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
	} {
		list = append(list, &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: c}}})
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: list}, nil
}

func (m maker) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.GetName() == "" || len(r.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "name and capabilities are required")
	}
	want := storage.Volume{
		Kind: storage.NodeLocal, ID: r.GetName(), Size: r.GetCapacityRange().GetRequiredBytes(),
		Block: r.GetVolumeCapabilities()[0].GetBlock() != nil,
	}
	if from := r.GetVolumeContentSource(); from != nil {
		want.Source = &storage.Source{Kind: want.Kind, Snapshot: from.GetSnapshot().GetSnapshotId(), Volume: from.GetVolume().GetVolumeId()}
	}
	v, err := m.agent.Put(ctx, want)
	if err != nil {
		return nil, code(err)
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: r.GetName(), CapacityBytes: v.Size, ContentSource: r.GetVolumeContentSource(),
		VolumeContext: map[string]string{storage.KindKey: string(storage.NodeLocal)},
	}}, nil
}

func (m maker) DeleteVolume(ctx context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "the volume is missing")
	}
	return &csi.DeleteVolumeResponse{}, code(m.agent.Delete(ctx, storage.NodeLocal, r.GetVolumeId()))
}

func (m maker) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if r.GetName() == "" || r.GetSourceVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "name and volume are required")
	}
	s, err := m.agent.PutSnapshot(ctx, storage.NodeLocal, r.GetName(), r.GetSourceVolumeId())
	if err != nil {
		return nil, code(err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: asCSI(s)}, nil
}

func asCSI(s storage.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{SnapshotId: s.ID, SourceVolumeId: s.Volume, SizeBytes: s.Size, CreationTime: timestamppb.New(s.Created), ReadyToUse: s.Ready}
}

func (m maker) DeleteSnapshot(ctx context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if r.GetSnapshotId() == "" {
		return nil, status.Error(codes.InvalidArgument, "the snapshot is missing")
	}
	return &csi.DeleteSnapshotResponse{}, code(m.agent.DeleteSnapshot(ctx, storage.NodeLocal, r.GetSnapshotId()))
}

// ListSnapshots selects and pages, which upstream's controller asks for with one snapshot only.
func (m maker) ListSnapshots(ctx context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	all, err := m.agent.Snapshots(ctx, storage.NodeLocal)
	if err != nil {
		return nil, code(err)
	}
	answer := &csi.ListSnapshotsResponse{}
	for _, s := range all {
		if (r.GetSnapshotId() == "" || r.GetSnapshotId() == s.ID) && (r.GetSourceVolumeId() == "" || r.GetSourceVolumeId() == s.Volume) && s.ID >= r.GetStartingToken() {
			answer.Entries = append(answer.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: asCSI(s)})
		}
	}
	if most := int(r.GetMaxEntries()); most > 0 && len(answer.Entries) > most {
		answer.NextToken, answer.Entries = answer.Entries[most].Snapshot.SnapshotId, answer.Entries[:most]
	}
	return answer, nil
}

// code gives an error of the node the code that CSI has for it.
func code(err error) error {
	for is, code := range map[error]codes.Code{
		storage.ErrInUse: codes.FailedPrecondition, storage.ErrGone: codes.NotFound, storage.ErrInvalid: codes.InvalidArgument,
		storage.ErrExists: codes.AlreadyExists, storage.ErrNoSpace: codes.OutOfRange, storage.ErrCopying: codes.Aborted,
	} {
		if errors.Is(err, is) {
			return status.Error(code, err.Error())
		}
	}
	return err
}

// slowly returns a dialer for the suite, which waits until a connection changes to ready, and for a minute if it is that already when the
// suite looks a second time.
func slowly(socket string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		<-time.After(100 * time.Millisecond)
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
}

// TestSanity runs kubernetes-csi's suite on the driver, for file systems and for devices. It needs root.
func TestSanity(t *testing.T) {
	if n := flag.Lookup("test.count").Value.String(); n != "1" { // Ginkgo refuses it
		t.Skipf("THE CSI SANITY SUITE IS NOT RUN with -count=%s: it runs once a process", n)
	}
	probe := t.TempDir()
	if err := unix.Mount(probe, probe, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("THE CSI SANITY SUITE IS NOT RUN: cannot mount here: %v", err)
	}
	if err := unix.Unmount(probe, 0); err != nil {
		t.Fatal(err)
	}
	s, _, agent := serve(t)
	all := maker{agent: agent, identity: identity{server: s}}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(filepath.Dir(s.Kubelet), "all.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	csi.RegisterControllerServer(server, all)
	csi.RegisterIdentityServer(server, all)
	csi.RegisterNodeServer(server, &node{Server: s})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	accesses := []string{"mount"}
	if err := probeLoop(t); err == nil {
		accesses = append(accesses, "block")
	} else {
		t.Logf("BLOCK VOLUMES ARE NOT TESTED: they need the kernel's loop driver: %v", err)
	}
	for _, access := range accesses {
		config := sanity.NewTestConfig()
		config.Address, config.DialOptions = "passthrough:///csi", []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(slowly(l.Addr().String())),
		}
		config.TargetPath, config.StagingPath = filepath.Join(t.TempDir(), "target"), filepath.Join(t.TempDir(), "staging")
		config.TestVolumeSize, config.TestVolumeAccessType = 1<<20, access
		t.Cleanup(sanity.GinkgoTest(&config).Finalize)
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.Succinct, reporter.NoColor = true, true
	for name, reason := range notSanity() {
		t.Logf("not run: %s: %s", name, reason)
		suite.SkipStrings = append(suite.SkipStrings, regexp.QuoteMeta(name))
	}
	ginkgo.ReportAfterSuite("count", func(report ginkgo.Report) {
		for _, spec := range report.SpecReports {
			if spec.State.Is(types.SpecStateSkipped) && spec.Failure.Message != "" { // by the suite, at run time
				t.Errorf("%s was skipped: %s", spec.FullText(), spec.Failure.Message)
			}
		}
		const each = 46 // specs for one kind of access
		if passed := report.SpecReports.CountWithState(types.SpecStatePassed); passed < each*len(accesses) {
			t.Errorf("%d specs passed, want at least %d", passed, each*len(accesses))
		}
	})
	ginkgo.RunSpecs(t, "CSI", suite, reporter)
}
