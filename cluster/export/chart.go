package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/timeline"
)

// chart is the timeline of the last start, as text and as a picture.
func chart(l cluster.Layout, s *sight) part {
	return part{"timeline of the last start", fileLimit, func(ctx context.Context, to *Folder) error {
		status := s.info.Status
		if status == nil {
			return errors.New("only a control plane that runs can tell about its start")
		}
		client := cluster.NewClient(l)
		defer client.Close()
		programs := map[string]cluster.NodeProgram{}
		var mu sync.Mutex
		each(ctx, status.Nodes, func(n cluster.NodeStatus) {
			if !n.Connected {
				return
			}
			ctx, cancel := context.WithTimeout(ctx, answerLimit)
			defer cancel()
			p, err := client.NodeProgram(ctx, n.Name)
			to.Miss("timeline of node "+n.Name, err)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				programs[n.Name] = p
			}
		})
		c := timeline.Running(fmt.Sprintf("Cluster %s, started %s", l.Name, status.Started.UTC().Format(time.RFC3339)), *status, programs)
		if len(c.Groups) == 0 {
			return errors.New("no component is ready yet")
		}
		return errors.Join(
			to.Fill("timeline.txt", "what the last start consisted of, and what waited for what", func(w io.Writer) error { return c.WriteText(w) }),
			to.Fill("timeline.svg", "the same as a picture", func(w io.Writer) error { return c.WriteSVG(w) }))
	}}
}
