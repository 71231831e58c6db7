package encryption

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/klkube/kl/cluster"
)

// Tally counts the objects of a resource by what they are stored under: GET /v1/encryption on the status socket is a list of them. It
// is counted from the bytes in etcd, whatever any configuration says.
type Tally struct {
	Resource string     `json:"resource"`
	Objects  int        `json:"objects"`
	Plain    int        `json:"plain"`          // stored as they are
	Keys     []KeyTally `json:"keys,omitempty"` // the others
}

// KeyTally counts the objects under a key.
type KeyTally struct {
	Provider cluster.EncryptionProvider `json:"provider"`
	Key      string                     `json:"key"`
	Objects  int                        `json:"objects"`
}

// Count adds an object that is stored under k.
func (t *Tally) Count(k Key) {
	t.Objects++
	if k.Provider == cluster.EncryptionNone {
		t.Plain++
		return
	}
	for i := range t.Keys {
		if t.Keys[i].Provider == k.Provider && t.Keys[i].Key == k.Name {
			t.Keys[i].Objects++
			return
		}
	}
	t.Keys = append(t.Keys, KeyTally{k.Provider, k.Name, 1})
}

// Under returns how many objects are stored under k.
func (t Tally) Under(k Key) int {
	if k.Provider == cluster.EncryptionNone {
		return t.Plain
	}
	for _, n := range t.Keys {
		if n.Provider == k.Provider && n.Key == k.Name {
			return n.Objects
		}
	}
	return 0
}

// Tallies asks a cluster's control plane for the tallies of resources.
func Tallies(ctx context.Context, c *cluster.Client, resources ...string) ([]Tally, error) {
	resp, err := c.Do(ctx, http.MethodGet, "/v1/encryption?"+url.Values{"resource": resources}.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("count objects: %w", err)
	}
	defer resp.Body.Close()
	var tallies []Tally
	if err := json.NewDecoder(resp.Body).Decode(&tallies); err != nil {
		return nil, fmt.Errorf("count objects: %w", err)
	}
	return tallies, nil
}

// RewriteRequest is the body of POST /v1/encryption/rewrite. The answer is a stream of RewriteProgress, one JSON document a line.
type RewriteRequest struct {
	Targets []RewriteTarget `json:"targets"`
}

// RewriteTarget is one resource: objects that are stored under anything but the key are written again.
type RewriteTarget struct {
	Resource string                     `json:"resource"`
	Provider cluster.EncryptionProvider `json:"provider"`
	Key      string                     `json:"key,omitempty"`
	All      bool                       `json:"all,omitempty"` // write each once, whatever it is stored under
}

// RewriteProgress tells how far a rewrite is. The last one has Finished or Error.
type RewriteProgress struct {
	Resource string `json:"resource"`
	Done     int    `json:"done"`
	Of       int    `json:"of"`
	Finished bool   `json:"finished,omitempty"`
	Error    string `json:"error,omitempty"`
}
