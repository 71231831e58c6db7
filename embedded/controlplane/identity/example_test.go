package identity_test

import (
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
	"github.com/klkube/kl/embedded/controlplane/identity"
)

func Example() {
	dir, err := os.MkdirTemp("", "kl")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	layout := cluster.Home(dir).Cluster("dev")
	if err := pki.Ensure(layout, cluster.DefaultSpec().Networking, time.Now()); err != nil {
		panic(err)
	}
	admin := &rest.Config{Host: "https://127.0.0.1:6443", TLSClientConfig: rest.TLSClientConfig{CAFile: layout.Trust("ca")}}
	own, err := identity.Config(admin, layout.PKI("ca.crt"), layout.PKI("ca.key"), identity.Request{User: "system:metrics-server"})
	if err != nil {
		panic(err)
	}
	fmt.Println(own.Host, own.UserAgent)
	// Output: https://127.0.0.1:6443 metrics-server
}
