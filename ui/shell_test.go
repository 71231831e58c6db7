package ui

import (
	"context"
	"errors"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/muesli/termenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/ui/kit"
)

// TestShellInImageWithoutOne offers a debug container when, and only when, the image has no shell.
func TestShellInImageWithoutOne(t *testing.T) {
	m := testModel(t, "", states()["normal"](), kit.Area{W: 80, H: 24}, testStyles(termenv.Ascii, true))
	ctx := t.Context()
	m.conn = &session{run: func(f func(context.Context) tea.Msg) tea.Cmd { return func() tea.Msg { return f(ctx) } }}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	exec, ok := openShell(m, pod, "app")().(execMsg)
	if !ok {
		t.Fatal("openShell does not ask for the terminal")
	}
	for text, offered := range map[string]bool{
		`exec in web: Internal error occurred: error executing command in container: failed to exec in container: failed to start exec "c1": OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory`: true,
		`exec in web: command terminated with exit code 130`: false,
		`exec in web: pods "web" not found`:                  false,
	} {
		message := exec.ended(errors.New(text))
		dialog, is := message.(dialogMsg)
		if is != offered {
			t.Errorf("%s: got %#v", text, message)
		}
		if is {
			if _, prompt := dialog.dialog.(*kit.Prompt); !prompt {
				t.Errorf("the dialog is %T", dialog.dialog)
			}
		}
	}
}
