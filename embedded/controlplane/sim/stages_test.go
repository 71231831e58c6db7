package sim

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextfake "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	kwokfake "sigs.k8s.io/kwok/pkg/client/clientset/versioned/fake"
)

const definition = "stages.kwok.x-k8s.io"

// establishing is an API that serves custom resources as soon as they are defined, if serve is set.
func establishing(serve bool) *apiextfake.Clientset {
	api := apiextfake.NewSimpleClientset()
	api.PrependReactor("create", "customresourcedefinitions", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if serve {
			def := a.(clienttesting.CreateAction).GetObject().(*apiextv1.CustomResourceDefinition)
			def.Status.Conditions = []apiextv1.CustomResourceDefinitionCondition{{Type: apiextv1.Established, Status: apiextv1.ConditionTrue}}
		}
		return false, nil, nil // go on with the tracker
	})
	return api
}

func stageNames(t *testing.T, api *kwokfake.Clientset) []string {
	t.Helper()
	list, err := api.KwokV1alpha1().Stages().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list.Items {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// TestInstallOnce installs the stages and then starts again over stages that a user has changed.
func TestInstallOnce(t *testing.T) {
	extensions, stages := establishing(true), kwokfake.NewSimpleClientset()
	if err := install(t.Context(), extensions, stages); err != nil {
		t.Fatal(err)
	}
	all := []string{"node-initialize", "pod-complete", "pod-delete", "pod-ready"}
	if d := cmp.Diff(all, stageNames(t, stages)); d != "" {
		t.Errorf("stages (-want +got):\n%s", d)
	}
	def, err := extensions.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), definition, metav1.GetOptions{})
	if err != nil || def.Annotations[installed] == "" {
		t.Errorf("definition has annotations %v, %v; want %s", def.Annotations, err, installed)
	}

	if err := stages.KwokV1alpha1().Stages().Delete(t.Context(), "pod-complete", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := install(t.Context(), extensions, stages); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(slices.DeleteFunc(all, func(s string) bool { return s == "pod-complete" }), stageNames(t, stages)); d != "" {
		t.Errorf("stages after a second start (-want +got):\n%s", d)
	}
}

// TestInstallAfterCrash starts over an installation that was cut short: there is a definition without the annotation.
func TestInstallAfterCrash(t *testing.T) {
	extensions, stages := establishing(true), kwokfake.NewSimpleClientset()
	if err := install(t.Context(), extensions, stages); err != nil {
		t.Fatal(err)
	}
	definitions := extensions.ApiextensionsV1().CustomResourceDefinitions()
	def, err := definitions.Get(t.Context(), definition, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	def.Annotations = nil
	if _, err := definitions.Update(t.Context(), def, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := stages.KwokV1alpha1().Stages().Delete(t.Context(), "pod-ready", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := install(t.Context(), extensions, stages); err != nil {
		t.Fatal(err)
	}
	if names := stageNames(t, stages); len(names) != 4 {
		t.Errorf("stages are %v, want the missing one back", names)
	}
}

func TestInstallWaitsForTheResource(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	stages := kwokfake.NewSimpleClientset()
	err := install(ctx, establishing(false), stages)
	if err == nil || !strings.Contains(err.Error(), "wait for Stage resource") {
		t.Errorf("install() = %v over an API that does not serve the resource", err)
	}
	if names := stageNames(t, stages); len(names) > 0 {
		t.Errorf("created %v before the resource was served", names)
	}
}
