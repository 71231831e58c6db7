package export

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster/observe"
)

const (
	objectsLimit  = 2 * time.Minute
	resourceLimit = 20 * time.Second // for a list of one resource, such as one that an aggregated API serves
)

// objects are all objects of the API, a file for each resource and namespace.
func objects(s *sight) part {
	return part{"API objects", objectsLimit, func(ctx context.Context, to *Folder) error {
		if s.api == nil {
			return s.apiErr
		}
		resources, err := listable(s.api.discovery, to)
		if err != nil {
			return err
		}
		each(ctx, resources, func(r schema.GroupVersionResource) {
			to.Miss("objects: "+r.GroupResource().String(), writeResource(ctx, s.api, to, r))
		})
		return ctx.Err()
	}}
}

// listable returns all resources that can be listed, in their preferred versions. Groups that do not answer are noted.
func listable(d discovery.DiscoveryInterface, to *Folder) ([]schema.GroupVersionResource, error) {
	lists, err := d.ServerPreferredResources()
	var failed *discovery.ErrGroupDiscoveryFailed
	switch {
	case errors.As(err, &failed):
		for group, err := range failed.Groups {
			to.Miss("objects: API group "+group.String(), err)
		}
	case err != nil:
		return nil, fmt.Errorf("discover resources: %w", err)
	}
	var out []schema.GroupVersionResource
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range l.APIResources {
			// Events are in files of their own.
			if slices.Contains(r.Verbs, "list") && !strings.Contains(r.Name, "/") && r.Name != "events" {
				out = append(out, gv.WithResource(r.Name))
			}
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionResource) int {
		return cmp.Compare(a.GroupResource().String(), b.GroupResource().String())
	})
	return out, nil
}

// writeResource writes all objects of a resource: those of a namespace into one file.
func writeResource(ctx context.Context, api *clients, to *Folder, r schema.GroupVersionResource) (err error) {
	ctx, cancel := context.WithTimeout(ctx, resourceLimit)
	defer cancel()
	files := map[string]io.WriteCloser{}
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
	}()
	return pages(func(o metav1.ListOptions) (string, error) {
		list, err := api.dynamic.Resource(r).List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range list.Items {
			if err := writeObject(to, files, r, &list.Items[i]); err != nil {
				return "", err
			}
		}
		return list.GetContinue(), nil
	})
}

func writeObject(to *Folder, files map[string]io.WriteCloser, r schema.GroupVersionResource, o *unstructured.Unstructured) error {
	if r.Group == "" && r.Resource == "secrets" {
		o.SetAPIVersion("v1") // the items of a list may leave it out
		o.SetKind("Secret")
	}
	Redact(o.Object)
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		return err
	}
	where := o.GetNamespace()
	w, ok := files[where]
	if !ok {
		name, about := "objects/cluster/", r.Resource
		if where != "" {
			name, about = "objects/namespaces/"+safe(where)+"/", r.Resource+" of namespace "+where
		}
		if w, err = to.Create(name+safe(r.GroupResource().String())+".yaml", about); err != nil {
			return err
		}
		files[where] = w
	}
	_, err = fmt.Fprintf(w, "---\n%s", data)
	return err
}

// events are what Kubernetes' components have reported, as text and as JSON.
func events(s *sight) part {
	return part{"events", fileLimit, func(_ context.Context, to *Folder) error {
		if s.api == nil {
			return s.apiErr
		}
		list := slices.Clone(s.events)
		slices.SortStableFunc(list, func(a, b corev1.Event) int { return observe.EventTime(&a).Compare(observe.EventTime(&b)) })
		text := to.Fill("events.txt", "events of all namespaces, oldest first", func(w io.Writer) error {
			for i := range list {
				if _, err := fmt.Fprintln(w, eventLine(&list[i])); err != nil {
					return err
				}
			}
			return nil
		})
		return errors.Join(text, to.Fill("events.json", "the same as Kubernetes has them, one a line", func(w io.Writer) error {
			for i := range list {
				list[i].APIVersion, list[i].Kind = "v1", "Event"
				data, err := json.Marshal(&list[i])
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(w, "%s\n", data); err != nil {
					return err
				}
			}
			return nil
		}))
	}}
}

// eventLine is one line for an event: time, type, object, reason, how often, message.
func eventLine(e *corev1.Event) string {
	count := ""
	if n := eventCount(e); n > 1 {
		count = fmt.Sprintf(" ×%d", n)
	}
	return fmt.Sprintf("%s  %-7s  %s  %s%s: %s", observe.EventTime(e).UTC().Format(time.RFC3339), e.Type, eventObject(e), e.Reason, count, oneLine(e.Message))
}

func eventObject(e *corev1.Event) string {
	o := e.InvolvedObject
	return strings.ToLower(o.Kind) + " " + strings.TrimPrefix(o.Namespace+"/"+o.Name, "/")
}

func eventCount(e *corev1.Event) int32 {
	if e.Series != nil {
		return e.Series.Count
	}
	return e.Count
}
