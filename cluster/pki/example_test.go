package pki_test

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
)

func Example() {
	dir, err := os.MkdirTemp("", "kl")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	layout := cluster.Home(dir).Cluster("demo")
	if err := pki.Ensure(layout, cluster.DefaultSpec().Networking, time.Now()); err != nil {
		log.Fatal(err)
	}
	_, err = os.Stat(layout.PKI("apiserver.crt"))
	fmt.Println(err)
	// Output: <nil>
}
