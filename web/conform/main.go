// Command conform holds what the page asked of the API, as the browser tests
// recorded it, against openapi.yaml.
//
//	go run ./web/conform FILE...
//
// A line of a file is an exchange in JSON. The exit code is 1 when one is not as
// openapi.yaml says, and each is told; and when there is none at all.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/piper-build/piper/api/apitest"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conform:", err)
		os.Exit(1)
	}
}

// An exchange is what a browser asked, and was answered, as browser/world.mjs
// writes it.
type exchange struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Sent    string            `json:"sent"`
	Status  int               `json:"status"`
	Answer  map[string]string `json:"answer"` // its headers
	Body    *string           `json:"body"`   // null: of a stream, or gone with its page
}

func run(files []string, stdout io.Writer) error {
	count, wrong := 0, 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		lines := bufio.NewReader(f)
		for n := 1; ; n++ {
			line, err := lines.ReadBytes('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return errors.Join(err, f.Close())
			}
			if len(bytes.TrimSpace(line)) == 0 {
				break
			}
			count++
			if err := check(line); err != nil {
				fmt.Fprintf(stdout, "%s:%d: %v\n", file, n, err)
				wrong++
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	switch {
	case count == 0:
		return errors.New("nothing was recorded")
	case wrong > 0:
		return fmt.Errorf("%d of %d exchanges are not as openapi.yaml says", wrong, count)
	}
	fmt.Fprintf(stdout, "conform: %d exchanges are as openapi.yaml says\n", count)
	return nil
}

func check(line []byte) error {
	var x exchange
	if err := json.Unmarshal(line, &x); err != nil {
		return fmt.Errorf("read exchange: %w", err)
	}
	r, err := http.NewRequest(x.Method, x.URL, nil)
	if err != nil {
		return fmt.Errorf("read exchange: %w", err)
	}
	r.Header = headers(x.Headers)
	e := apitest.Exchange{Request: r, Sent: []byte(x.Sent), Status: x.Status, Header: headers(x.Answer)}
	if x.Body != nil {
		e.Body = []byte(*x.Body)
	}
	return apitest.Check(e)
}

func headers(of map[string]string) http.Header {
	h := http.Header{}
	for name, value := range of {
		h.Set(name, value)
	}
	return h
}
