package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

// streamRetry is the pause before a stream that has ended is opened again.
const streamRetry = time.Second

// ReadDenials calls see for each denial that a node of a kl cluster remembers, oldest first.
func ReadDenials(ctx context.Context, client *cluster.Client, node string, see func(policy.Denial)) error {
	return readDenials(ctx, client, node, policy.DenialsPath, see)
}

// FollowDenials calls see for the denials of all nodes of a kl cluster as they happen, also of nodes that join later; it is
// called from several goroutines. A stream begins with the denials that the node remembers, and is opened again when it
// ends, so see gets some denials more than once. FollowDenials returns when ctx is done or the control plane stops, with
// the reason.
func FollowDenials(ctx context.Context, client *cluster.Client, log *slog.Logger, see func(policy.Denial)) error {
	return eachConnected(ctx, client, func(ctx context.Context, node string) {
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			err := readDenials(ctx, client, node, policy.DenialsPath+"?watch=1", see)
			if ctx.Err() == nil {
				log.Debug("follow denials", "node", node, "err", err)
			}
		}, streamRetry)
	})
}

func readDenials(ctx context.Context, client *cluster.Client, node, path string, see func(policy.Denial)) error {
	resp, err := client.Node(ctx, node, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var d policy.Denial
		if err := lines.Decode(&d); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read denials: %w", err)
		}
		see(d)
	}
}

// ConnectedNodes returns the names of the nodes whose agent is connected to the control plane.
func ConnectedNodes(s cluster.Status) (names []string) {
	for _, n := range s.Nodes {
		if n.Connected {
			names = append(names, n.Name)
		}
	}
	return names
}

// eachConnected runs do for each connected node of a kl cluster, in a goroutine of its own, until the node is no longer
// connected. It returns when ctx is done or the control plane stops, with the reason, once all goroutines have ended.
func eachConnected(ctx context.Context, client *cluster.Client, do func(ctx context.Context, node string)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancelAll := context.WithCancel(ctx)
	defer cancelAll()
	running := map[string]context.CancelFunc{}
	return client.Watch(ctx, func(s cluster.Status) bool {
		connected := ConnectedNodes(s)
		for n, cancel := range running {
			if !slices.Contains(connected, n) {
				cancel()
				delete(running, n)
			}
		}
		for _, n := range connected {
			if running[n] == nil {
				nodeCtx, cancel := context.WithCancel(ctx)
				running[n] = cancel
				wg.Go(func() { do(nodeCtx, n) })
			}
		}
		return true
	})
}
