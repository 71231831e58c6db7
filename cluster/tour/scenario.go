package tour

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/version"
)

// ScenarioFile is the name of the file that makes a directory a scenario.
const ScenarioFile = "scenario.yaml"

// maxFile bounds a file of a scenario, in bytes.
const maxFile = 1 << 20

// Scenario is one scenario; see the package's documentation for its file.
type Scenario struct {
	// Name is the name of the directory.
	Name string `yaml:"-"`
	// Title is one line that says what is seen.
	Title string `yaml:"title"`
	// Feature is the feature of Kubernetes 1.7 that it shows, in its form of today.
	Feature string `yaml:"feature"`
	Needs   Needs  `yaml:"needs"`
	// Namespaces are made besides the one that is named after the scenario; their names are suffixes of its name.
	Namespaces []string `yaml:"namespaces"`
	// Alone is for scenarios that disturb others, such as those that restart a node.
	Alone   bool     `yaml:"alone"`
	Steps   []Step   `yaml:"steps"`
	Cleanup []string `yaml:"cleanup"`

	files fs.FS
}

// Step is one command and what is expected of it.
type Step struct {
	Say     string        `yaml:"say"`
	Run     string        `yaml:"run"`
	Prints  texts         `yaml:"prints"`
	Matches string        `yaml:"matches"`
	Lacks   texts         `yaml:"lacks"`
	Fails   bool          `yaml:"fails"`
	Within  time.Duration `yaml:"within"`
	Holds   time.Duration `yaml:"holds"`
	Save    string        `yaml:"save"`
	Timeout time.Duration `yaml:"timeout"`
}

// texts is a list of texts, or a single one.
type texts []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (t *texts) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*t = texts{n.Value}
		return nil
	}
	return n.Decode((*[]string)(t))
}

// Namespace is the name of the scenario's first namespace.
func (s *Scenario) Namespace() string { return "tour-" + s.Name }

// AllNamespaces are the names of all its namespaces.
func (s *Scenario) AllNamespaces() []string {
	all := []string{s.Namespace()}
	for _, suffix := range s.Namespaces {
		all = append(all, s.Namespace()+"-"+suffix)
	}
	return all
}

// Load reads the scenario in a directory, named name, and checks it.
func Load(files fs.FS, name string) (*Scenario, error) {
	data, err := readFile(files, ScenarioFile)
	if err != nil {
		return nil, fmt.Errorf("read scenario %s: %w", name, err)
	}
	s := &Scenario{Name: name, files: files}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(s); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read scenario %s: %s is empty", name, ScenarioFile)
	} else if err != nil {
		text := strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " ")
		return nil, fmt.Errorf("read scenario %s: %s: %s", name, ScenarioFile, text)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("read scenario %s: %w", name, err)
	}
	return s, nil
}

// LoadAll reads the scenarios in the directories of files, in alphabetical order. Directories without a scenario are left out.
func LoadAll(files fs.FS) ([]*Scenario, error) {
	found, err := fs.Glob(files, "*/"+ScenarioFile)
	if err != nil {
		return nil, err
	}
	var all []*Scenario
	for _, file := range found {
		dir, err := fs.Sub(files, path.Dir(file))
		if err != nil {
			return nil, err
		}
		s, err := Load(dir, path.Dir(file))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

var (
	// namePattern leaves room for the suffix of a namespace in the 63 characters of a label.
	namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	savePattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// check returns the first mistake.
func (s *Scenario) check() error {
	for _, name := range append([]string{s.Name}, s.Namespaces...) {
		if !namePattern.MatchString(name) {
			return fmt.Errorf("the name %q has to be lower-case letters, digits and dashes", name)
		}
	}
	if s.Title == "" || strings.Contains(s.Title, "\n") {
		return errors.New("title: one line is needed")
	}
	if n := s.Needs.Kubernetes; n != "" {
		if _, err := version.ParseGeneric(n); err != nil {
			return fmt.Errorf("needs.kubernetes: %q is not a version such as 1.36", n)
		}
	}
	if len(s.Steps) == 0 {
		return errors.New("steps: at least one is needed")
	}
	known := given()
	for i := range s.Steps {
		if err := s.Steps[i].check(&known); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if !slices.ContainsFunc(s.Steps, func(s Step) bool { return s.expects() }) {
		return errors.New("no step expects anything")
	}
	for _, command := range s.Cleanup {
		if err := checkNames(command, known); err != nil {
			return fmt.Errorf("cleanup: %w", err)
		}
	}
	return s.checkFiles(known)
}

// check adds to known what the step saves.
func (s *Step) check(known *[]string) error {
	if s.Run == "" {
		if s.Say == "" || s.expects() || s.Save != "" {
			return errors.New("run: a command is needed")
		}
		return nil
	}
	for _, text := range append(slices.Concat(s.Prints, s.Lacks), s.Say, s.Run, s.Matches) {
		if err := checkNames(text, *known); err != nil {
			return err
		}
	}
	if _, err := regexp.Compile(s.Matches); err != nil {
		return fmt.Errorf("matches: %w", err)
	}
	if slices.Contains(slices.Concat(s.Prints, s.Lacks), "") {
		return errors.New("prints, lacks: the text is empty")
	}
	if s.Within < 0 || s.Holds < 0 || s.Timeout < 0 {
		return errors.New("within, holds, timeout: a time cannot be negative")
	}
	if s.Save != "" {
		if !savePattern.MatchString(s.Save) || slices.Contains(given(), s.Save) {
			return fmt.Errorf("save: %q has to be a name of its own in capital letters", s.Save)
		}
		*known = append(*known, s.Save)
	}
	return nil
}

// expects reports whether the step checks more than that its command succeeds.
func (s *Step) expects() bool {
	return len(s.Prints) > 0 || s.Matches != "" || len(s.Lacks) > 0 || s.Fails
}

// checkFiles returns an error if a file uses a name that no step saves.
func (s *Scenario) checkFiles(known []string) error {
	return s.EachFile(func(file, text string) error {
		if file == ScenarioFile {
			return nil // its steps were checked one by one
		}
		if err := checkNames(text, known); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	})
}

// EachFile calls see with the path and the text of each file, scenario.yaml first.
func (s *Scenario) EachFile(see func(file, text string) error) error {
	files := []string{ScenarioFile}
	err := fs.WalkDir(s.files, ".", func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && file != ScenarioFile {
			files = append(files, file)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := readFile(s.files, file)
		if err != nil {
			return err
		}
		if err := see(file, string(data)); err != nil {
			return err
		}
	}
	return nil
}

// readFile reads a file of a scenario, which may come from a user's directory.
func readFile(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s has to be a regular file of at most %d bytes", name, maxFile)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}
