package forward

import "github.com/fsnotify/fsnotify"

// fileWatch tells of changes of one file that is replaced as a whole. The zero value sees nothing.
type fileWatch struct {
	path    string
	watcher *fsnotify.Watcher
	changed <-chan fsnotify.Event
	errors  <-chan error
}

// watchFile may fail on a busy machine: the kernel limits watchers to some 128 a user.
func watchFile(path string) (fileWatch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fileWatch{}, err
	}
	return fileWatch{path, w, w.Events, w.Errors}, nil
}

// arm is called before the file is read: the watch stays with what was replaced.
func (w fileWatch) arm() {
	if w.watcher == nil {
		return
	}
	_ = w.watcher.Remove(w.path)
	_ = w.watcher.Add(w.path) // if it is not there, reading it says so
}

func (w fileWatch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
}
