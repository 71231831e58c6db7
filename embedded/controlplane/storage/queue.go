package storage

import (
	"context"

	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// claimQueue holds the claims that a loop has to look at, with a longer pause each time the same one comes back.
type claimQueue struct {
	workqueue.TypedRateLimitingInterface[cache.ObjectName]
}

func newClaimQueue() claimQueue {
	pauses := workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](firstRetry, lastRetry)
	return claimQueue{workqueue.NewTypedRateLimitingQueue(pauses)}
}

// run calls sync for one claim after another until ctx is done. A claim for which it returns true comes back.
func (q claimQueue) run(ctx context.Context, sync func(cache.ObjectName) (again bool)) error {
	stop := context.AfterFunc(ctx, q.ShutDown)
	defer stop()
	for {
		key, ended := q.Get()
		if ended {
			return ctx.Err()
		}
		if sync(key) {
			q.AddRateLimited(key)
		} else {
			q.Forget(key)
		}
		q.Done(key)
	}
}
