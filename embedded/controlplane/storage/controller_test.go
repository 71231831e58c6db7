package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	provision "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/klkube/kl/embedded/node/storage"
)

const pvName = "pvc-uid-x"

func TestProvision(t *testing.T) {
	for name, test := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		node  string // where the volume is to be; empty for shared
	}{
		"local":      {onNodeClaim("n1"), "n1"},
		"shared":     {claim("shared", corev1.ReadWriteMany), ""},
		"shared one": {claim("shared", corev1.ReadWriteOnce), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, newFakeNodes("n1"), test.claim)
			var pv *corev1.PersistentVolume
			eventually(t, "a volume", func() (found bool) {
				var err error
				pv, err = s.api.CoreV1().PersistentVolumes().Get(t.Context(), pvName, metav1.GetOptions{})
				return err == nil
			})
			kind := storage.NodeLocal
			if test.node == "" {
				kind = storage.Shared
			}
			if !s.nodes.has("n1/" + string(kind) + "/" + pvName) {
				t.Errorf("the node has no volume: %v", s.nodes.volumes)
			}
			if kindOf(pv) != kind || nodeOf(pv) != test.node || pv.Spec.CSI.VolumeHandle != pvName || pv.Spec.ClaimRef.Name != "c" {
				t.Errorf("volume is %+v", pv.Spec)
			}
			if d := cmp.Diff(test.claim.Spec.AccessModes, pv.Spec.AccessModes); d != "" {
				t.Errorf("access modes (-want +got):\n%s", d)
			}
			if got := pv.Annotations[storage.LimitKey]; got != "not enforced: a test" {
				t.Errorf("limit is told as %q", got)
			}
			eventually(t, "an event that its size is not enforced", func() bool {
				return slices.ContainsFunc(s.events(t, "c"), func(e string) bool { return strings.HasPrefix(e, "SizeNotEnforced: ") })
			})
		})
	}
}

// TestProvisionForPodWithNode makes volumes for pods that name their node themselves, which the scheduler never sees.
func TestProvisionForPodWithNode(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", UID: "uid-p"}, Spec: corev1.PodSpec{NodeName: "n1"}}
	named, ephemeral, other := pod.DeepCopy(), pod.DeepCopy(), pod.DeepCopy()
	named.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
	ephemeral.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}
	other.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "another"}}}}
	unscheduled := named.DeepCopy()
	unscheduled.Spec.NodeName = ""
	owned := claim("standard", corev1.ReadWriteOnce)
	owned.Name, owned.OwnerReferences = "p-d", []metav1.OwnerReference{*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))}
	stolen := claim("standard", corev1.ReadWriteOnce)
	stolen.Name = "p-d"
	for name, test := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		pod   *corev1.Pod
		made  bool
	}{
		"a claim":                      {claim("standard", corev1.ReadWriteOnce), named, true},
		"an ephemeral volume":          {owned, ephemeral, true},
		"a claim of an ephemeral name": {stolen, ephemeral, false},
		"another claim":                {claim("standard", corev1.ReadWriteOnce), other, false},
		"a pod for the scheduler":      {claim("standard", corev1.ReadWriteOnce), unscheduled, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, newFakeNodes("n1"), test.claim, test.pod)
			if !test.made {
				eventually(t, "the claim and its class in the caches", func() bool {
					_, missing := s.assigner.claims.PersistentVolumeClaims("default").Get(test.claim.Name)
					_, classless := s.assigner.classes.Get("standard")
					return missing == nil && classless == nil
				})
				if waiting, err := s.assigner.sync(t.Context(), cache.NewObjectName("default", test.claim.Name)); !waiting || err != nil {
					t.Errorf("sync: waiting %v, %v", waiting, err)
				}
				if c, err := s.api.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), test.claim.Name, metav1.GetOptions{}); err != nil || c.Annotations[selectedNode] != "" {
					t.Errorf("node %q was selected, %v", c.Annotations[selectedNode], err)
				}
				return
			}
			eventually(t, "a volume on the pod's node", func() bool {
				pv, err := s.api.CoreV1().PersistentVolumes().Get(t.Context(), pvName, metav1.GetOptions{})
				return err == nil && nodeOf(pv) == "n1"
			})
		})
	}
}

func TestCheckMode(t *testing.T) {
	for text, want := range map[string]string{
		"": "777", "0755": "755", "700": "700", "1777": "refused", "0": "refused", "rwx": "refused", "-1": "refused",
	} {
		class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Parameters: map[string]string{storage.KindKey: "shared", storage.ModeKey: text}}
		_, mode, err := check(provision.ProvisionOptions{StorageClass: class, PVC: claim("mine", corev1.ReadWriteMany)})
		got := fmt.Sprintf("%o", mode)
		if err != nil {
			got = "refused"
		}
		if got != want {
			t.Errorf("mode %q: %s (%v), want %s", text, got, err, want)
		}
	}
}

func TestProvisionBlock(t *testing.T) {
	block, nodes := claim("shared", corev1.ReadWriteMany), newFakeNodes("n1")
	mode := corev1.PersistentVolumeBlock
	block.Spec.VolumeMode = &mode
	s := start(t, nodes, block)
	eventually(t, "a block volume", func() bool {
		pv, err := s.api.CoreV1().PersistentVolumes().Get(t.Context(), pvName, metav1.GetOptions{})
		return err == nil && isBlock(pv.Spec.VolumeMode)
	})
	nodes.mu.Lock()
	defer nodes.mu.Unlock()
	if v := nodes.volumes["n1/shared/"+pvName]; !v.Block {
		t.Errorf("the node was asked for %+v", v)
	}
}

func TestRefusedClaims(t *testing.T) {
	block, selector, clone := claim("shared", corev1.ReadOnlyMany), claim("shared", corev1.ReadWriteMany), claim("shared", corev1.ReadWriteMany)
	mode := corev1.PersistentVolumeBlock
	block.Spec.VolumeMode = &mode
	selector.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	clone.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "other"}
	many := onNodeClaim("n1")
	many.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	for name, test := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		nodes *fakeNodes
		says  string
	}{
		"block":        {block, newFakeNodes("n1"), storage.BlockReadOnly},
		"selector":     {selector, newFakeNodes("n1"), "remove the claim's selector"},
		"clone":        {clone, newFakeNodes("n1"), "PersistentVolumeClaim other: there is none"},
		"many on one":  {many, newFakeNodes("n1"), "cannot be ReadWriteMany: use class shared"},
		"no node":      {claim("shared", corev1.ReadWriteMany), newFakeNodes(), "no node is connected"},
		"simulated":    {onNodeClaim("sim-1"), newFakeNodes("n1"), "node sim-1: the node is simulated and has no disk"},
		"off":          {onNodeClaim("off"), newFakeNodes("n1"), "node off: the node is not connected"},
		"removed":      {onNodeClaim("gone"), newFakeNodes("n1"), "node gone: the node does not exist"},
		"node refuses": {onNodeClaim("n1"), &fakeNodes{on: []string{"n1"}, refuse: errors.New("disk is full")}, "node n1: disk is full"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, test.nodes, test.claim)
			eventually(t, test.says, func() bool {
				return slices.ContainsFunc(s.events(t, "c"), func(e string) bool {
					return strings.HasPrefix(e, "ProvisioningFailed: ") && strings.Contains(e, test.says)
				})
			})
			if list, _ := s.api.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{}); len(list.Items) > 0 {
				t.Errorf("made %s", list.Items[0].Name)
			}
		})
	}
}

// released returns a volume whose claim is gone.
func released(node string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: pvName, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": storage.Driver},
			Finalizers: []string{"external-provisioner.volume.kubernetes.io/finalizer"},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, NodeAffinity: onNode(node),
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: storage.Driver, VolumeHandle: pvName, VolumeAttributes: map[string]string{storage.KindKey: "local"},
			}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeReleased},
	}
	return pv
}

func (s *started) gone(t *testing.T) func() bool {
	return func() bool {
		_, err := s.api.CoreV1().PersistentVolumes().Get(t.Context(), pvName, metav1.GetOptions{})
		return err != nil
	}
}

func TestReclaim(t *testing.T) {
	nodes := newFakeNodes("n1")
	nodes.volumes["n1/local/"+pvName] = storage.Volume{}
	s := start(t, nodes, released("n1"))
	eventually(t, "the volume is gone", s.gone(t))
	if nodes.has("n1/local/" + pvName) {
		t.Error("its data is not")
	}
}

// The volume of a node that is off is deleted once it is back; that of a removed node was deleted with it.
func TestReclaimWithoutNode(t *testing.T) {
	nodes := newFakeNodes("n1")
	nodes.volumes["off/local/"+pvName] = storage.Volume{}
	s := start(t, nodes, released("off"))
	eventually(t, "an event with the reason", func() bool {
		return slices.ContainsFunc(s.events(t, pvName), func(e string) bool {
			return strings.HasPrefix(e, "VolumeFailedDelete: node off: the node is not connected")
		})
	})
	if s.gone(t)() {
		t.Error("the volume is gone, its data is not")
	}
	nodes.turn("n1", "off")
	eventually(t, "the volume is gone", s.gone(t))
	if nodes.has("off/local/" + pvName) {
		t.Error("its data is not")
	}

	removed := start(t, newFakeNodes("n1"), released("removed"))
	eventually(t, "the volume of a removed node is gone", removed.gone(t))
}

func TestExpand(t *testing.T) {
	pv := released("n1")
	pv.Status.Phase = corev1.VolumeBound
	c := onNodeClaim("n1")
	c.Spec.VolumeName, c.Status.Phase = pvName, corev1.ClaimBound
	c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	c.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimResizing}, {Type: "Other"}}
	c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("2Gi")
	s := start(t, newFakeNodes("n1"), pv, c)
	var got *corev1.PersistentVolumeClaim
	eventually(t, "the claim has its size", func() bool {
		got, _ = s.api.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), "c", metav1.GetOptions{})
		return got.Status.Capacity.Storage().String() == "2Gi"
	})
	if len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Type != "Other" {
		t.Errorf("conditions are %v", got.Status.Conditions)
	}
	now, err := s.api.CoreV1().PersistentVolumes().Get(t.Context(), pvName, metav1.GetOptions{})
	if err != nil || now.Spec.Capacity.Storage().String() != "2Gi" {
		t.Errorf("volume has %s, %v", now.Spec.Capacity.Storage(), err)
	}
	if v := s.nodes.volumes["n1/local/"+pvName]; v.Size != 2<<30 {
		t.Errorf("the node was asked for %d", v.Size)
	}
}

func TestCapacity(t *testing.T) {
	s := start(t, newFakeNodes("n1", "n2"))
	list := func() (found []string) {
		all, err := s.api.StorageV1().CSIStorageCapacities(capacityNamespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all.Items {
			found = append(found, c.StorageClassName+" "+c.NodeTopology.MatchLabels["kubernetes.io/hostname"]+" "+c.Capacity.String())
		}
		return found
	}
	eventually(t, "both nodes have room", func() bool {
		return slices.Equal(list(), []string{"standard n1 5Gi", "standard n2 5Gi"})
	})
	s.nodes.turn("n1")
	eventually(t, "a node that is off has none", func() bool {
		s.survey.request()
		return slices.Equal(list(), []string{"standard n1 5Gi"})
	})
}

func TestDisks(t *testing.T) {
	nodes := newFakeNodes("n1")
	nodes.disks["n1"] = []storage.Disk{{Name: "fast", Path: "/disks/fast", Capacity: 1 << 30}}
	s := start(t, nodes)
	api := s.api.CoreV1().PersistentVolumes()
	find := func() *corev1.PersistentVolume {
		all, err := api.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(all.Items) != 1 {
			return nil
		}
		return &all.Items[0]
	}
	eventually(t, "a volume", func() bool { return find() != nil })
	pv := find()
	if pv.Spec.Local == nil || pv.Spec.Local.Path != "/disks/fast" || nodeOf(pv) != "n1" || pv.Spec.StorageClassName != "local-storage" {
		t.Errorf("volume is %+v", pv.Spec)
	}
	pv.UID, pv.Status.Phase = "first", corev1.VolumeBound
	if _, err := api.Update(t.Context(), pv, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	pv.Status.Phase = corev1.VolumeReleased
	if _, err := api.Update(t.Context(), pv, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is created again", func() bool { found := find(); return found != nil && found.UID != "first" })
	nodes.mu.Lock()
	if d := cmp.Diff([]string{"n1/fast"}, nodes.cleaned); d != "" {
		t.Errorf("emptied disks (-want +got):\n%s", d)
	}
	nodes.disks["n1"] = nil
	nodes.mu.Unlock()
	eventually(t, "the volume of a disk that is gone is gone", func() bool { s.survey.request(); return find() == nil })
}

func TestNodeOf(t *testing.T) {
	pv := &corev1.PersistentVolume{}
	if got := nodeOf(pv); got != "" {
		t.Errorf("no affinity: %q", got)
	}
	pv.Spec.NodeAffinity = onNode("n7")
	if got := nodeOf(pv); got != "n7" {
		t.Errorf("got %q", got)
	}
}
