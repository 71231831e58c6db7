package images

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/klkube/kl/cluster/images"
)

// sourceTimeout is how long a source stays open that no node reads from.
const sourceTimeout = 10 * time.Minute

// sources are those that nodes read layers of. The zero value has none.
type sources struct {
	mu   sync.Mutex
	open map[string]*openSource
}

// openSource is closed by whoever is the last to use it.
type openSource struct {
	images.Source
	users int // the map is one
	used  time.Time
}

// add keeps a source for a node, and returns what it is called.
func (s *sources) add(source images.Source) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*openSource{}
	}
	name := rand.Text()
	s.open[name] = &openSource{Source: source, users: 1, used: time.Now()}
	return name
}

// take returns a source for as long as release was not called.
func (s *sources) take(name string) (source images.Source, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.open[name]
	if !ok {
		return nil, nil, errors.New("the image is no longer open: ask for it again")
	}
	o.users++
	return o.Source, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		o.used = time.Now()
		o.drop()
	}, nil
}

// drop is called with the lock held.
func (o *openSource) drop() {
	if o.users--; o.users == 0 {
		_ = o.Source.Close() // it was only read
	}
}

func (s *sources) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.open[name]; ok {
		delete(s.open, name)
		o.drop()
	}
}

// removeUnused removes sources that were not used since a time.
func (s *sources) removeUnused(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, o := range s.open {
		if o.users == 1 && o.used.Before(since) {
			delete(s.open, name)
			o.drop()
		}
	}
}

// run removes sources that nodes have forgotten, and all of them when ctx is done.
func (s *sources) run(ctx context.Context) {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for {
		select {
		case now := <-minute.C:
			s.removeUnused(now.Add(-sourceTimeout))
		case <-ctx.Done():
			s.removeUnused(time.Now().Add(time.Hour))
			return
		}
	}
}
