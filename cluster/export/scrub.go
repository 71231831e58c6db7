package export

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	minSecret = 8       // bytes: shorter values are in texts by chance
	maxSecret = 8 << 10 // bytes of a line: nobody prints longer ones
	maxWord   = 20      // bytes: a value of lower-case letters alone that is shorter is a word, such as a user's name
	maxLine   = 1 << 20 // bytes of a line that are searched at once
)

// known are the values of a cluster's Secrets, to be found in texts that programs have written.
type known struct {
	values *strings.Replacer // nil if there are none
}

// word matches values that would be found everywhere, such as a user's name.
var word = regexp.MustCompile(`^[a-z-]+$`)

// newKnown returns what to look for: each line of each value, and each value in base64. Certificates are public, and so is what Secrets with
// tokens say beside the token.
func newKnown(secrets []corev1.Secret) known {
	marks := map[string]string{}
	for i := range secrets {
		s := &secrets[i]
		for key, value := range s.Data {
			if public(s.Type, key) || bytes.Contains(value, []byte("-----BEGIN CERTIFICATE")) {
				continue
			}
			texts := strings.Split(string(value), "\n")
			if telling(strings.TrimSpace(string(value))) {
				texts = append(texts, base64.StdEncoding.EncodeToString(value))
			}
			for _, text := range texts {
				if text = strings.TrimSpace(text); telling(text) {
					marks[text] = fmt.Sprintf("(value of Secret %s/%s, %s)", s.Namespace, s.Name, key)
				}
			}
		}
	}
	if len(marks) == 0 {
		return known{}
	}
	// A value may begin with another one: the longest comes first.
	texts := slices.SortedFunc(maps.Keys(marks), func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	var pairs []string
	for _, text := range texts {
		pairs = append(pairs, text, marks[text])
	}
	return known{values: strings.NewReplacer(pairs...)}
}

// telling reports whether a text that is found somewhere is there because of the Secret, and not by chance.
func telling(text string) bool {
	return len(text) >= minSecret && len(text) <= maxSecret && (len(text) >= maxWord || !word.MatchString(text))
}

// public reports whether a key of a Secret says nothing that is private.
func public(kind corev1.SecretType, key string) bool {
	switch kind {
	case corev1.SecretTypeServiceAccountToken:
		return key != corev1.ServiceAccountTokenKey
	case corev1.SecretTypeBootstrapToken:
		return key != "token-secret"
	}
	return false
}

// replace is the identity if there are no values.
func (k known) replace(text string) string {
	if k.values == nil {
		return text
	}
	return k.values.Replace(text)
}

var (
	keyBlock = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----`)
	keyBegin = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`)
	keyEnd   = regexp.MustCompile(`-----END [A-Z ]*PRIVATE KEY-----`)
	// jwt is a token of a ServiceAccount or of OpenID Connect: header and claims are JSON, which begins with {" in base64.
	jwt = regexp.MustCompile(`eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}`)
	// credential is one in a kubeconfig, or in a file like it.
	credential = regexp.MustCompile(`((?:client-key-data|token|token-secret|password|secret)["']?\s*[:=]\s*)("[^"\n]+"|'[^'\n]+'|[^\s"',}]+)`)
	bearer     = regexp.MustCompile(`(?i)(bearer\s+)[\w.~+/=-]{16,}`)
	userinfo   = regexp.MustCompile(`(://)[^/@\s"']+:[^/@\s"']+@`)
	bootstrap  = regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)
)

// hideKeys takes out what is private wherever it is: private keys, and tokens that can be told from other texts.
func hideKeys(text string) string {
	if strings.Contains(text, "PRIVATE KEY-----") {
		text = keyBlock.ReplaceAllString(text, "(private key left out)")
	}
	if strings.Contains(text, "eyJ") {
		text = jwt.ReplaceAllString(text, "(token left out)")
	}
	if strings.Contains(text, "earer ") {
		text = bearer.ReplaceAllString(text, "${1}(left out)")
	}
	return text
}

// hideTokens is hideKeys, and also takes out what is private in configuration, and might be something else in a log.
func hideTokens(text string) string {
	text = credential.ReplaceAllString(hideKeys(text), "${1}(left out)")
	text = userinfo.ReplaceAllString(text, "${1}(left out)@")
	return bootstrap.ReplaceAllString(text, "(bootstrap token left out)")
}

// scrubber passes text on line by line, without what is private. Close it, for the last line.
type scrubber struct {
	to    io.Writer
	known known
	line  []byte
	inKey bool // between the lines that enclose a private key
	err   error
}

func (s *scrubber) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 && len(s.line)+len(rest) < maxLine {
			s.line = append(s.line, rest...)
			break
		}
		end := i + 1
		if i < 0 {
			end = len(rest)
		}
		s.line = append(s.line, rest[:end]...)
		s.flush()
		rest = rest[end:]
	}
	if s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

func (s *scrubber) flush() {
	line := string(s.line)
	s.line = s.line[:0]
	if s.err != nil || line == "" {
		return
	}
	if s.inKey {
		end := keyEnd.FindStringIndex(line)
		if end == nil {
			return
		}
		s.inKey, line = false, line[end[1]:]
	}
	line = hideKeys(line)
	if begin := keyBegin.FindStringIndex(line); begin != nil {
		s.inKey, line = true, line[:begin[0]]+"(private key left out)\n"
	}
	_, s.err = io.WriteString(s.to, s.known.replace(line))
}

// Close writes the last line. It does not close what it writes to.
func (s *scrubber) Close() error {
	s.flush()
	return s.err
}
