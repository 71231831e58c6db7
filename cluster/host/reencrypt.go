package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
)

// reencryption changes how a running cluster is encrypted, step by step, see package encryption. Its steps are written to the file, and
// each begins once the API server has loaded the one before. So it can be killed anywhere.
type reencryption struct {
	layout cluster.Layout
	spec   cluster.Spec
	steps  *recorder
	client *cluster.Client
}

func newReencryption(l cluster.Layout, spec cluster.Spec, steps *recorder) *reencryption {
	return &reencryption{layout: l, spec: spec, steps: steps, client: cluster.NewClient(l)}
}

// loadTimeout is how long the API server may take to load a configuration. It looks for one every second, and asks a new
// KMS plugin for up to ten.
const loadTimeout = 30 * time.Second

// apply brings the cluster to e, and first writes down that it shall be so.
func (r *reencryption) apply(ctx context.Context, e cluster.Encryption) error {
	c, _, err := encryption.Read(r.layout)
	if err != nil {
		return err
	}
	goal := r.goal(c, e)
	if _, err := encryption.Next(c, goal); err != nil {
		return &cluster.Error{Op: "change the encryption of cluster " + r.layout.Name, Err: err}
	}
	if e.Provider == cluster.EncryptionKMS {
		if err := checkPlugin(ctx, e.KMS); err != nil {
			return err
		}
	}
	r.spec.Encryption = e
	if err := cluster.WriteSpec(r.layout, r.spec); err != nil {
		return &cluster.Error{Op: "save cluster " + r.layout.Name, Err: err}
	}
	return r.run(ctx, goal)
}

// adopt fills in how the cluster is encrypted, if cluster.yaml does not say: it was made by an older kl.
func (r *reencryption) adopt() error {
	if r.spec.Encryption.Provider != "" {
		return nil
	}
	c, _, err := encryption.Read(r.layout)
	if errors.Is(err, fs.ErrNotExist) {
		return &cluster.Error{
			Op: "read the encryption of cluster " + r.layout.Name, Err: errors.New("its control plane was started by an older kl"),
			Hint: fmt.Sprintf("restart the cluster first: 'kl stop --name %s', then 'kl start --name %s'", r.layout.Name, r.layout.Name),
		}
	}
	if err != nil {
		return err
	}
	r.spec.Encryption = c.Spec()
	return nil
}

// goal is where e ends: with the provider's newest key, which a change that was interrupted may have made, or a new one.
func (r *reencryption) goal(c encryption.Config, e cluster.Encryption) encryption.Goal {
	g := encryption.Goal{Resources: e.Resources}
	switch e.Provider {
	case cluster.EncryptionNone:
		g.Key = encryption.Plain()
	case cluster.EncryptionKMS:
		g.Key = encryption.PluginKey(e.KMS)
	default:
		var ok bool
		if g.Key, ok = c.Newest(e.Provider); !ok {
			g.Key = encryption.NewKey(e.Provider, time.Now(), c.Keys())
		}
	}
	return g
}

// unfinished reports whether a change was interrupted.
func (r *reencryption) unfinished(c encryption.Config) (bool, error) {
	if !c.Settled() {
		return true, nil
	}
	step, err := encryption.Next(c, r.goal(c, r.spec.Encryption))
	return step.Kind != encryption.StepDone, err
}

// run takes the steps to a goal.
func (r *reencryption) run(ctx context.Context, g encryption.Goal) error {
	for n := 1; ; n++ {
		c, hash, err := encryption.Read(r.layout)
		if err != nil {
			return err
		}
		if err := r.loaded(ctx, hash); err != nil { // it may have been written just before a kill
			return err
		}
		step, err := encryption.Next(c, g)
		if err != nil {
			return err
		}
		switch step.Kind {
		case encryption.StepDone:
			return nil
		case encryption.StepAdd:
			err = r.steps.do(title(n, cluster.StepAddKey), func() (string, error) { return g.Key.String(), r.add(ctx, c, step.Config) })
		case encryption.StepUse:
			err = r.steps.do(title(n, cluster.StepUseKey), func() (string, error) { return g.Key.String(), r.load(ctx, step.Config) })
		case encryption.StepDrop:
			err = r.retire(ctx, n, c, step)
		}
		if err != nil {
			return err
		}
	}
}

// title names a step; a change that needs two rounds has each of them twice.
func title(n int, step string) string {
	if n > 3 {
		return step + " (2)"
	}
	return step
}

// add writes a configuration with another key that nothing is written with yet. If the API server cannot load it, the one before is put
// back: it has to load at its next start, too.
func (r *reencryption) add(ctx context.Context, before, next encryption.Config) error {
	err := r.load(ctx, next)
	if err == nil {
		return nil
	}
	return errors.Join(err, encryption.Write(r.layout, before, ""))
}

// load writes a configuration and waits until the API server uses it.
func (r *reencryption) load(ctx context.Context, c encryption.Config) error {
	return r.loadStamped(ctx, c, "")
}

func (r *reencryption) loadStamped(ctx context.Context, c encryption.Config, stamp string) error {
	if err := encryption.Write(r.layout, c, stamp); err != nil {
		return &cluster.Error{Op: "write " + r.layout.EncryptionConfig(), Err: err}
	}
	_, hash, err := encryption.Read(r.layout)
	if err != nil {
		return err
	}
	return r.loaded(ctx, hash)
}

func (r *reencryption) loaded(ctx context.Context, hash string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, loadTimeout, fmt.Errorf("not done within %s", loadTimeout))
	defer cancel()
	resp, err := r.client.Do(ctx, http.MethodGet, "/v1/encryption/loaded?hash="+url.QueryEscape(hash), nil)
	if err == nil {
		resp.Body.Close()
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &cluster.Error{
		Op: "have the API server load " + r.layout.EncryptionConfig(), Err: err,
		Hint: fmt.Sprintf("'kl logs kube-apiserver --name %s' says why; give the command again to go on", r.layout.Name),
	}
}

// retire has every object written with the keys of a step, proves it from etcd's bytes, and removes the other keys.
func (r *reencryption) retire(ctx context.Context, n int, c encryption.Config, step encryption.Step) error {
	err := r.steps.do(title(n, cluster.StepRewrite), func() (string, error) { return r.rewrite(ctx, step.Rewrite) })
	if err != nil {
		return err
	}
	return r.steps.do(title(n, cluster.StepDropKey), func() (string, error) {
		if err := r.proven(ctx, step.Rewrite); err != nil {
			return "", err
		}
		if err := r.load(ctx, step.Config); err != nil {
			return "", err
		}
		// A request that began under the old key, before it was the second one, may have created an object just now. As long as
		// the key is in this process's memory, it can come back.
		if err := r.proven(ctx, step.Rewrite); err != nil {
			return "", errors.Join(err, r.load(context.WithoutCancel(ctx), c))
		}
		return "", nil
	})
}

// proven returns an error unless each resource's objects are all stored under its key.
func (r *reencryption) proven(ctx context.Context, want map[string]encryption.Key) error {
	resources := make([]string, 0, len(want))
	for name := range want {
		resources = append(resources, name)
	}
	if len(resources) == 0 {
		return nil
	}
	slices.Sort(resources)
	tallies, err := encryption.Tallies(ctx, r.client, resources...)
	if err != nil {
		return err
	}
	for _, t := range tallies {
		if left := t.Objects - t.Under(want[t.Resource]); left > 0 {
			return &cluster.Error{
				Op: "remove the old key", Err: fmt.Errorf("%d of %d %s are still stored under it", left, t.Objects, t.Resource),
				Hint: "give the command again",
			}
		}
	}
	return nil
}

// rewrite has the control plane write objects again until each resource's are stored under its key, and returns how many there were.
func (r *reencryption) rewrite(ctx context.Context, targets map[string]encryption.Key) (string, error) {
	var request encryption.RewriteRequest
	for name, k := range targets {
		request.Targets = append(request.Targets, encryption.RewriteTarget{Resource: name, Provider: k.Provider, Key: k.Name})
	}
	slices.SortFunc(request.Targets, func(a, b encryption.RewriteTarget) int { return strings.Compare(a.Resource, b.Resource) })
	return r.send(ctx, request)
}

func (r *reencryption) send(ctx context.Context, request encryption.RewriteRequest) (string, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	resp, err := r.client.Do(ctx, http.MethodPost, "/v1/encryption/rewrite", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	wrote := map[string]int{}
	for lines := json.NewDecoder(resp.Body); ; {
		var p encryption.RewriteProgress
		switch err := lines.Decode(&p); {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return "", errors.New("the control plane ended meanwhile")
		case err != nil:
			return "", fmt.Errorf("read progress: %w", err)
		case p.Error != "":
			return "", errors.New(p.Error)
		case p.Finished:
			return counts(request, wrote), nil
		}
		wrote[p.Resource] = p.Of
		r.steps.say(cluster.StepRewrite, cluster.StepRunning, fmt.Sprintf("%d of %d %s", p.Done, p.Of, p.Resource))
	}
}

func counts(request encryption.RewriteRequest, wrote map[string]int) string {
	var parts []string
	for _, t := range request.Targets {
		parts = append(parts, fmt.Sprintf("%d %s", wrote[t.Resource], t.Resource))
	}
	return strings.Join(parts, ", ")
}

// renew has the API server ask a KMS plugin for its key now, instead of within a minute, and writes every object again.
func (r *reencryption) renew(ctx context.Context) error {
	c, _, err := encryption.Read(r.layout)
	if err != nil {
		return err
	}
	err = r.steps.do(cluster.StepUseKey, func() (string, error) {
		return "the plugin's present one", r.loadStamped(ctx, c, "loaded again at "+time.Now().UTC().Format(time.RFC3339Nano))
	})
	if err != nil {
		return err
	}
	return r.steps.do(cluster.StepRewrite, func() (string, error) {
		var request encryption.RewriteRequest
		for _, name := range c.Resources() {
			k := c.Writes(name)
			request.Targets = append(request.Targets, encryption.RewriteTarget{Resource: name, Provider: k.Provider, Key: k.Name, All: true})
		}
		return r.send(ctx, request)
	})
}
