package encryption_test

import (
	"fmt"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
)

// A rotation: the new key is read, then written with, and the old one goes once no object is stored under it.
func ExampleNext() {
	made := time.Date(2026, 11, 29, 14, 0, 0, 0, time.UTC)
	old := encryption.NewKey(cluster.EncryptionSecretbox, made, nil)
	c := encryption.Config{"secrets": {old}}
	goal := encryption.Goal{Resources: c.Resources(), Key: encryption.NewKey(cluster.EncryptionSecretbox, made.Add(time.Hour), c.Keys())}
	for {
		step, err := encryption.Next(c, goal)
		if err != nil {
			panic(err)
		}
		fmt.Println(step.Kind, step.Config["secrets"])
		if step.Kind == encryption.StepDone {
			return
		}
		c = step.Config // written, and loaded by every API server
	}
	// Output:
	// add [secretbox key-20261129-140000 secretbox key-20261129-150000]
	// use [secretbox key-20261129-150000 secretbox key-20261129-140000]
	// drop [secretbox key-20261129-150000]
	// done [secretbox key-20261129-150000]
}
