package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Directory is a Source of secrets that each have a file in a directory, which
// is named as they are. No symbolic link leads out of it. One newline at a
// file's end is dropped. The file is read each time it is asked for.
func Directory(dir string) Source {
	return func(name string) (string, error) {
		if err := CheckName(name); err != nil {
			return "", err
		}
		data, err := readBelow(dir, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", notFound(name)
		case err != nil:
			return "", fmt.Errorf("read secret %q: %w", name, err)
		}
		return checked(name, dir+"/"+name, withoutEnd(data))
	}
}

// readBelow is read of a regular file that is in dir.
func readBelow(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory: %w", unpresent(err)) // it should be there
	}
	defer root.Close()
	// Without O_NONBLOCK a FIFO would hold us until someone writes to it.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", f.Name())
	}
	return io.ReadAll(io.LimitReader(f, MaxBytes+int64(len("\r\n"))+1))
}

// unpresent is err that is no fs.ErrNotExist.
func unpresent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}
