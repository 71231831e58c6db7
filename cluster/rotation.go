package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/klkube/kl/cluster/statefile"
)

// RotationKind is what a rotation of certificates changes.
type RotationKind string

// The kinds of rotations.
const (
	RotateLeaves      RotationKind = "certificates" // all certificates but those of authorities, with new keys
	RotateAuthorities RotationKind = "authorities"  // authorities, the key of ServiceAccounts' tokens, and all certificates; the old ones stay trusted
	RetireAuthorities RotationKind = "retirement"   // ends the trust in old authorities and in the old key
)

// Command is the command that takes or finishes a rotation.
func (k RotationKind) Command(name string) string {
	flag := map[RotationKind]string{RotateAuthorities: " --cas", RetireAuthorities: " --retire"}[k]
	return fmt.Sprintf("'kl certs rotate%s --name %s'", flag, name)
}

// Rotation is the last rotation of a cluster's certificates. It lies beside them, in RotationFile, and is replaced with them.
type Rotation struct {
	Kind       RotationKind `json:"kind"`
	Unfinished bool         `json:"unfinished,omitempty"` // nodes or kubeconfigs may not have what it has made
	// Switched is when the control plane began to run with new certificates. Kubelets renew those that are older.
	Switched time.Time `json:"switched,omitzero"`
	// Replaced is when new authorities and a new key took over from old ones that are still trusted; zero if there are no old ones.
	Replaced time.Time `json:"replaced,omitzero"`
	// Published is since when every pod that starts is told of the new authorities. Older containers may know the old ones alone.
	Published time.Time `json:"published,omitzero"`
}

// RotationFile holds the Rotation, if there ever was one.
func (l Layout) RotationFile() string { return l.PKI("rotation.json") }

// ReadRotation reads the last rotation of a cluster; it is zero if there was none.
func ReadRotation(l Layout) (Rotation, error) {
	var r Rotation
	err := statefile.ReadJSON(l.RotationFile(), &r)
	if errors.Is(err, fs.ErrNotExist) {
		return Rotation{}, nil
	}
	if err == nil && r.Kind.check() != nil {
		err = r.Kind.check()
	}
	if err != nil {
		return Rotation{}, Damaged(l, l.RotationFile(), err)
	}
	return r, nil
}

func (k RotationKind) check() error {
	switch k {
	case RotateLeaves, RotateAuthorities, RetireAuthorities:
		return nil
	}
	return fmt.Errorf("its kind %.40q is unknown", string(k))
}

// Outdated reports whether a kubelet has to renew a certificate: it is older than the last rotation, or of another authority than the
// one that issues now.
func (r Rotation) Outdated(kubelets, authority Certificate) bool {
	return kubelets.Written.Before(r.Switched) || kubelets.Issuer != authority.Subject
}

// Problems says what is left to do after rotations, for people.
func (r Rotation) Problems(name string) []string {
	var out []string
	if r.Unfinished {
		out = append(out, fmt.Sprintf("a rotation of certificates was interrupted: %s finishes it", r.Kind.Command(name)))
	}
	if !r.Replaced.IsZero() && (!r.Unfinished || r.Kind == RotateLeaves) {
		out = append(out, fmt.Sprintf("the authorities and the key of tokens that were replaced on %s are still trusted: %s ends that",
			r.Replaced.UTC().Format("2006-01-02 15:04 MST"), RetireAuthorities.Command(name)))
	}
	return out
}

// Trust is the file of all authorities that are trusted in place of ca or front-proxy-ca: after a rotation, those that it replaced,
// too. The one that issues certificates is the first.
func (l Layout) Trust(ca string) string { return l.bundle(ca+"-trust.crt", ca+".crt") }

// TokenKeys is the file of all public keys that tokens of ServiceAccounts may be signed for, sa.key's first.
func (l Layout) TokenKeys() string { return l.bundle("sa-trust.pub", "sa.pub") }

func (l Layout) bundle(bundle, single string) string {
	if _, err := os.Lstat(l.PKI(bundle)); err == nil {
		return l.PKI(bundle)
	}
	return l.PKI(single)
}
