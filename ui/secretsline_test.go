package ui

import (
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
)

func TestSecretsLine(t *testing.T) {
	for want, s := range map[string]observe.Secrets{
		"Secrets encrypted (secretbox)":    {Provider: cluster.EncryptionSecretbox, Objects: 7},
		"Secrets encrypted (kms)":          {Provider: cluster.EncryptionKMS},
		"3 of 7 Secrets are not encrypted": {Provider: cluster.EncryptionAESGCM, Objects: 7, Plain: 3},
		"Secrets not encrypted":            {Provider: cluster.EncryptionNone, Objects: 7, Plain: 7},
	} {
		if got := ansi.Strip(secretsLine(testStyles(termenv.Ascii, true), s)); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}
