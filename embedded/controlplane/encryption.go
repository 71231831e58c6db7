package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.etcd.io/etcd/server/v3/etcdserver"
	encryptionreload "k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
	"github.com/klkube/kl/embedded/controlplane/atrest"
)

// reloadInterval is how often the API server looks for changes of the encryption configuration. A rotation of keys waits for three of
// them; upstream's is a minute.
const reloadInterval = time.Second

// reloadPromptly has the API server look for changes that often. The interval is a variable of upstream's.
func reloadPromptly() { encryptionreload.EncryptionConfigFileChangePollDuration = reloadInterval }

// ensureEncryption writes the configuration of a cluster that has none: one that an older kl made stays as it is, but can be encrypted
// without another start of the API server. Data that was encrypted cannot be read without the keys, so that a file which is missing
// then is an error.
func ensureEncryption(l cluster.Layout, spec cluster.Spec) error {
	_, err := os.Stat(l.EncryptionConfig())
	switch {
	case err == nil, !errors.Is(err, fs.ErrNotExist):
		return err
	case spec.Encryption.Enabled():
		return cluster.Damaged(l, l.EncryptionConfig(), err)
	}
	plain := cluster.Encryption{Provider: cluster.EncryptionNone}.Default()
	return encryption.Write(l, encryption.New(plain, encryption.Plain()), "")
}

// etcdStore is etcd's server once it serves.
type etcdStore struct {
	atomic.Pointer[etcdserver.EtcdServer]
}

// get returns nil until etcd serves, and not a nil pointer in an interface.
func (s *etcdStore) get() atrest.Store {
	server := s.Load()
	if server == nil {
		return nil
	}
	return server
}

// loadedEncryption reads from the API server's metrics which configuration it uses, and how often it could not load one.
func loadedEncryption() (hash string, failures float64, err error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		return "", 0, fmt.Errorf("gather metrics: %w", err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "apiserver_encryption_config_controller_last_config_info":
				hash = label(m, "hash")
			case "apiserver_encryption_config_controller_automatic_reloads_total":
				if label(m, "status") == "failure" {
					failures += m.GetCounter().GetValue()
				}
			}
		}
	}
	return hash, failures, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
