package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/build"
)

// shortest is how long a node must take to be remembered. What is shorter
// matters neither for the order of a plan nor for when it is done.
const shortest = 50 * time.Millisecond

// A history is how long each node of a pipeline, services apart, took when it
// last succeeded, if that was at least 50 ms. It is a file of its own, as it is
// read before the first step and must not wait for a database. It is a hint:
// what is missing or broken is empty.
type history struct {
	file string // "" is none
	took map[string]time.Duration
}

// history reads that of a pipeline of the project at root.
func (a *app) history(root, pipeline string) history {
	cache := a.userDir("XDG_CACHE_HOME", ".cache")
	if cache == "" {
		return history{}
	}
	sum := sha256.Sum256([]byte(root)) // tells apart projects whose directories have the same name
	h := history{file: filepath.Join(cache, "history", filepath.Base(root)+"-"+hex.EncodeToString(sum[:6]),
		strings.ReplaceAll(pipeline, "/", "%2F")+".json")} // no name holds a '%'
	data, err := os.ReadFile(h.file)
	var ms map[string]int64
	if err != nil || json.Unmarshal(data, &ms) != nil {
		return h
	}
	h.took = make(map[string]time.Duration, len(ms))
	for name, n := range ms {
		h.took[name] = time.Duration(n) * time.Millisecond
	}
	return h
}

// remember puts what b took into the history.
func (h history) remember(b *build.Build) error {
	ms := map[string]int64{}
	for i, node := range b.Plan().Nodes {
		took, ok := h.took[node.Name]
		if step := b.Node(i); step.State == build.Success && !node.IsService() {
			took, ok = step.Ended.Sub(step.Started), true
		}
		if ok && took >= shortest {
			ms[node.Name] = took.Milliseconds()
		}
	}
	if h.file == "" || len(ms) == 0 && len(h.took) == 0 {
		return nil
	}
	data, err := json.Marshal(ms)
	if err == nil {
		err = replace(h.file, data)
	}
	if err != nil {
		return fmt.Errorf("remember how long steps took: %w", err)
	}
	return nil
}

// replace writes a file in one step, so that no reader sees half of it.
func replace(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
