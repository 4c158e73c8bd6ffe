package git

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Skeletons remember what git makes of an empty repository, so that it has to be
// asked once: of each file system, as git tries out what that can do, and for each
// length of a hash. They are for the mirrors of one process. The zero Skeletons
// know none.
type Skeletons struct {
	mu   sync.Mutex
	made map[skeletonKey]skeleton
}

type skeletonKey struct {
	device uint64
	sha256 bool
}

// A skeleton is what is in a .git directory: directories, each before what is in
// it, and what files hold.
type skeleton struct {
	dirs  []string
	files map[string][]byte
}

// get returns a skeleton, nil where there is none yet.
func (s *Skeletons) get(key skeletonKey) *skeleton {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, known := s.made[key]; known {
		return &k
	}
	return nil
}

// learn reads what git has just made.
func (s *Skeletons) learn(key skeletonKey, gitDir string) error {
	k := skeleton{files: map[string][]byte{}}
	err := filepath.WalkDir(gitDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(gitDir, path)
		switch {
		case err != nil:
		case d.IsDir():
			k.dirs = append(k.dirs, name)
		default:
			k.files[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil {
		s.made = map[skeletonKey]skeleton{}
	}
	s.made[key] = k
	return nil
}

// make makes a .git directory.
func (k *skeleton) make(gitDir string) error {
	for _, name := range k.dirs {
		if err := os.Mkdir(filepath.Join(gitDir, name), 0o777); err != nil {
			return err
		}
	}
	for name, text := range k.files {
		if err := os.WriteFile(filepath.Join(gitDir, name), text, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// init makes an empty repository in dir, which is there.
func (m *Mirror) init(ctx context.Context, dir string, sha256 bool) error {
	gitDir, key := filepath.Join(dir, ".git"), skeletonKey{sha256: sha256}
	if m.Skeletons != nil {
		var info unix.Stat_t
		if err := unix.Stat(dir, &info); err != nil {
			return err
		}
		key.device = uint64(info.Dev)
		if k := m.Skeletons.get(key); k != nil {
			return k.make(gitDir)
		}
	}
	hash := "sha1"
	if sha256 {
		hash = "sha256"
	}
	argv := append(mirrorOptions[:len(mirrorOptions):len(mirrorOptions)], "init", "--quiet", "--template=", "--", dir)
	if _, err := m.run(ctx, m.Dir, []string{"GIT_DEFAULT_HASH=" + hash, "GIT_DEFAULT_REF_FORMAT=files"}, argv); err != nil {
		return err
	}
	if m.Skeletons == nil {
		return nil
	}
	return m.Skeletons.learn(key, gitDir)
}
