package timeline_test

import (
	"fmt"
	"os"

	"github.com/klkube/kl/cluster/timeline"
)

func ExampleChart_WriteText() {
	c := timeline.Chart{Title: "Start", Groups: []timeline.Group{
		{Name: "control plane", Steps: []timeline.Step{
			{ID: "etcd", Name: "etcd", Began: 0.1, Ended: 0.3},
			{ID: "api", Name: "kube-apiserver", Began: 0.3, Ended: 1.5, After: []string{"etcd"}},
		}},
		{Name: "n1", Steps: []timeline.Step{
			{ID: "container", Name: "container", Ended: 0.7},
			{ID: "kubelet", Name: "kubelet", Began: 1.5, Ended: 2, After: []string{"container", "api"}},
		}},
	}}
	if err := c.WriteText(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// Start
	//                            0             2.0 s  began  took   waited for
	// control plane
	//   etcd                     ███                   0.10  0.20
	//   kube-apiserver           ··█████████████       0.30  1.20 ← etcd
	// n1
	//   container                ▒▒▒▒▒▒▒               0.00  0.70
	//   kubelet                  ··············█████   1.50  0.50 ← kube-apiserver +1
	// seconds; █ is the longest path: what would have to be shorter; · waits
}
