package host

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
	"github.com/klkube/kl/cluster/encryption"
)

// ensureEncryption writes the encryption configuration, with a new key, of a cluster that has never run, and else returns an error if it
// is missing or damaged. A cluster without a Spec for it was made by an older kl and stays as it is.
func ensureEncryption(l cluster.Layout, e cluster.Encryption) error {
	if e.Provider == "" {
		return nil
	}
	_, _, err := encryption.Read(l)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, ran := os.Stat(l.EtcdDir()); ran == nil {
		if e.Enabled() { // what is in etcd cannot be read with another key
			return err
		}
		return nil // the control plane writes one
	}
	return encryption.Write(l, encryption.New(e, encryption.KeyFor(e, time.Now())), "")
}

// EncryptSecrets brings a running cluster to an encryption, in which zero fields keep what the cluster has, and a cluster that is not
// encrypted gets the default. All objects are written again if they must. It finishes what was interrupted, and does nothing if there
// is nothing to do.
func (h *Host) EncryptSecrets(ctx context.Context, name string, want cluster.Encryption) error {
	return h.reencrypt(ctx, name, "kl secrets encrypt", func(ctx context.Context, r *reencryption) error {
		have := r.spec.Encryption
		if want.Provider == "" && !have.Enabled() {
			have.Provider = cluster.EncryptionSecretbox
		}
		return r.apply(ctx, config.Encrypted(have, want))
	})
}

// DecryptSecrets stores all objects of a running cluster as they are, and removes the keys.
func (h *Host) DecryptSecrets(ctx context.Context, name string) error {
	return h.reencrypt(ctx, name, "kl secrets decrypt", func(ctx context.Context, r *reencryption) error {
		return r.apply(ctx, config.Encrypted(r.spec.Encryption, cluster.Encryption{Provider: cluster.EncryptionNone}))
	})
}

// RotateSecrets makes a new key, writes all objects again with it, and removes the old one. It finishes a rotation that was interrupted,
// instead. A KMS plugin has keys of its own: objects are written again with the one that it uses now.
func (h *Host) RotateSecrets(ctx context.Context, name string) error {
	return h.reencrypt(ctx, name, "kl secrets rotate", func(ctx context.Context, r *reencryption) error {
		e := r.spec.Encryption
		if !e.Enabled() {
			return &cluster.Error{Op: "rotate the key of cluster " + name, Err: errors.New("its Secrets are not encrypted"), Hint: "'kl secrets encrypt' encrypts them"}
		}
		c, _, err := encryption.Read(r.layout)
		if err != nil {
			return err
		}
		begun := c.Rotating(e.Provider)
		if err := r.apply(ctx, e); err != nil || begun {
			return err
		}
		if e.Provider == cluster.EncryptionKMS {
			return r.renew(ctx)
		}
		if c, _, err = encryption.Read(r.layout); err != nil {
			return err
		}
		return r.run(ctx, encryption.Goal{Resources: e.Resources, Key: encryption.NewKey(e.Provider, time.Now(), c.Keys())})
	})
}

// reencrypt runs f for a cluster that serves, and holds its lock.
func (h *Host) reencrypt(ctx context.Context, name, command string, f func(context.Context, *reencryption) error) error {
	if err := cluster.CheckName(name); err != nil {
		return err
	}
	l, steps := h.Home.Cluster(name), newRecorder(h.Events)
	if _, err := cluster.ReadSpec(l); err != nil { // before the lock, which would make files
		return err
	}
	lock, err := acquire(ctx, l, command, steps)
	if err != nil {
		return err
	}
	defer release(l, lock)
	if err := checkMoved(l); err != nil {
		return err
	}
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		return err
	}
	if err := Serving(l); err != nil {
		return err
	}
	r := newReencryption(l, spec, steps)
	defer r.client.Close()
	if err := r.adopt(); err != nil {
		return err
	}
	if err := f(ctx, r); err != nil {
		steps.fail()
		return err
	}
	return nil
}

// applyEncryption is EncryptSecrets for a cluster that serves, and whose lock is held.
func (h *Host) applyEncryption(ctx context.Context, l cluster.Layout, steps *recorder, want cluster.Encryption) error {
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		return err
	}
	r := newReencryption(l, spec, steps)
	defer r.client.Close()
	if err := r.adopt(); err != nil {
		return err
	}
	e := config.Encrypted(r.spec.Encryption, want)
	if reflect.DeepEqual(e, r.spec.Encryption) {
		c, _, err := encryption.Read(l)
		if err != nil {
			return err
		}
		if unfinished, err := r.unfinished(c); err != nil || !unfinished {
			return err // nothing is asked for that is not so
		}
	}
	return r.apply(ctx, e)
}

// Serving returns why a cluster's control plane cannot answer: it is off or paused.
func Serving(l cluster.Layout) error {
	phase, reason, err := PhaseOf(l)
	if err != nil {
		return err
	}
	hint := ""
	switch phase {
	case cluster.PhaseStopped, cluster.PhaseCrashed:
		hint = "'kl start --name " + l.Name + "' starts the cluster"
	case cluster.PhasePaused:
		hint = "'kl resume --name " + l.Name + "' resumes the cluster"
	default:
		return nil
	}
	text := "its control plane is " + strings.ToLower(string(phase))
	if reason != "" {
		first, _, _ := strings.Cut(reason, "\n")
		text += ": " + first
	}
	return &cluster.Error{Op: "reach cluster " + l.Name, Err: errors.New(text), Hint: hint}
}

// checkPlugin returns an error if a KMS plugin does not listen: the API server would store nothing without it.
func checkPlugin(ctx context.Context, k cluster.KMS) error {
	ctx, cancel := context.WithTimeout(ctx, cluster.DefaultKMSTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", strings.TrimPrefix(k.Endpoint, "unix://"))
	if err != nil {
		return &cluster.Error{Op: "reach KMS plugin " + k.Name, Err: err, Hint: "start the plugin first; it must run whenever the cluster does"}
	}
	conn.Close()
	return nil
}

// SecretsStatus is how a cluster's objects are encrypted.
type SecretsStatus struct {
	Cluster    string             `json:"cluster"`
	Encryption cluster.Encryption `json:"encryption"` // what was asked for
	Unfinished bool               `json:"unfinished"` // a change was interrupted
	Keys       []SecretsKey       `json:"keys"`
	Resources  []encryption.Tally `json:"resources"`
}

// SecretsKey is a key or a plugin, without its secret.
type SecretsKey struct {
	Provider cluster.EncryptionProvider `json:"provider"`
	Name     string                     `json:"name"`
	Made     time.Time                  `json:"made,omitzero"`
	Writes   bool                       `json:"writes"` // new objects are stored under it
}

// Secrets returns how a running cluster's objects are encrypted, as etcd holds them.
func (h *Host) Secrets(ctx context.Context, name string) (*SecretsStatus, error) {
	l := h.Home.Cluster(name)
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		return nil, err
	}
	if err := checkMoved(l); err != nil {
		return nil, err
	}
	if err := Serving(l); err != nil {
		return nil, err
	}
	r := newReencryption(l, spec, newRecorder(nil))
	defer r.client.Close()
	if err := r.adopt(); err != nil {
		return nil, err
	}
	c, _, err := encryption.Read(l)
	if err != nil {
		return nil, err
	}
	s := &SecretsStatus{Cluster: name, Encryption: r.spec.Encryption, Keys: []SecretsKey{}}
	for _, k := range c.Keys() {
		key := SecretsKey{Provider: k.Provider, Name: k.Name, Made: k.Made()}
		for _, resource := range c.Resources() {
			key.Writes = key.Writes || c.Writes(resource).Same(k)
		}
		s.Keys = append(s.Keys, key)
	}
	if s.Unfinished, err = r.unfinished(c); err != nil {
		return nil, err
	}
	s.Resources, err = encryption.Tallies(ctx, r.client, c.Resources()...)
	return s, err
}
