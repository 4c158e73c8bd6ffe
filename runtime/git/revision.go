package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A Revision is the files of the project as a commit has them. Nothing is
// checked out: a file is read from the repository when it is opened, byte for
// byte, without what a filter or a setting for line ends would make of it. The
// files of a submodule are none of the commit's.
type Revision struct {
	repo    *Repo
	commit  string
	objects map[string]object
	files   []string
}

// An object is an entry of a tree.
type object struct {
	hash string
	link bool // a symbolic link, whose target is its content
}

// Revision finds the commit that a revision names: a branch, also one that only
// the remote origin has, a tag or a hash.
func (r *Repo) Revision(name string) (*Revision, error) {
	if err := checkRevision(name); err != nil {
		return nil, err
	}
	commit, err := r.resolve(name)
	if err != nil {
		return nil, fmt.Errorf("find revision %s: %w", name, err)
	}
	// Run in the project's directory, it lists what is below that.
	entries, err := r.list("ls-tree", "-r", "-z", commit)
	if err != nil {
		return nil, fmt.Errorf("list files of %s: %w", name, err)
	}
	v := &Revision{repo: r, commit: commit, objects: make(map[string]object, len(entries))}
	for _, entry := range entries {
		// "mode type hash\tpath"
		about, path, _ := strings.Cut(entry, "\t")
		fields := strings.Fields(about)
		if len(fields) != 3 || fields[1] != "blob" {
			continue
		}
		v.objects[path] = object{hash: fields[2], link: fields[0] == "120000"}
		v.files = append(v.files, path)
	}
	slices.Sort(v.files)
	return v, nil
}

// Commit returns the full hash of the commit.
func (v *Revision) Commit() string { return v.commit }

// Files returns the paths of the files, as those of a Repo, sorted. The caller
// must not change them.
func (v *Revision) Files() ([]string, error) { return v.files, nil }

// Open opens a file. It follows symbolic links, as long as they stay within the
// project.
func (v *Revision) Open(name string) (io.ReadCloser, error) {
	real, err := v.follow(name)
	if err != nil {
		return nil, err
	}
	o, ok := v.objects[real]
	switch {
	case !ok && v.isDir(real):
		return nil, errors.New("is a directory")
	case !ok:
		return nil, fs.ErrNotExist
	}
	data, err := v.content(o)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (v *Revision) content(o object) ([]byte, error) {
	data, err := v.repo.git("cat-file", "blob", o.hash)
	if err != nil {
		return nil, fmt.Errorf("read it from the repository: %w", err)
	}
	return data, nil
}

// follow returns the path that is left when all symbolic links in name have
// been followed.
func (v *Revision) follow(name string) (string, error) {
	const most = 40 // as Linux has it
	done, rest := ".", path.Clean(name)
	for links := 0; rest != "" && rest != "."; {
		first, after, _ := strings.Cut(rest, "/")
		at := path.Join(done, first)
		if first == ".." && done == "." {
			return "", errors.New("it leads out of the tree")
		}
		o := v.objects[at]
		if !o.link {
			done, rest = at, after
			continue
		}
		if links++; links > most {
			return "", errors.New("too many levels of symbolic links")
		}
		target, err := v.content(o)
		if err != nil {
			return "", err
		}
		if path.IsAbs(string(target)) {
			return "", errors.New("it leads out of the tree")
		}
		rest = string(target)
		if after != "" {
			rest += "/" + after
		}
	}
	return done, nil
}

func (v *Revision) isDir(name string) bool {
	inside := name + "/"
	i, _ := slices.BinarySearch(v.files, inside)
	return name == "." || i < len(v.files) && strings.HasPrefix(v.files[i], inside)
}

// Names returns the names of the files that stand in a directory.
func (v *Revision) Names(dir string) ([]string, error) {
	dir, err := v.follow(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range v.files {
		if path.Dir(file) == dir {
			names = append(names, path.Base(file))
		}
	}
	if names == nil && !v.isDir(dir) {
		return nil, fs.ErrNotExist
	}
	return names, nil
}
