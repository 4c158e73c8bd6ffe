package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"time"

	_ "modernc.org/sqlite"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// openPool opens a database as programs do that leave the rest to database/sql.
func openPool(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(60000)")
}

// pool claims builds as claim does, each in a transaction of its own on a
// connection from a pool.
func pool(ctx context.Context, j job) error {
	return inTemp(func(dir string) error {
		var ids []build.ID
		err := withStore(ctx, storeIn(dir), func(s *sqlite.Store) (err error) {
			ids, err = fill(ctx, s, j.n, false)
			return err
		})
		if err != nil {
			return err
		}
		db, err := openPool(storeIn(dir))
		if err != nil {
			return err
		}
		defer db.Close()
		begin := time.Now()
		_, err = atOnce(claimers, len(ids), func(i int) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			var doc []byte
			if err := tx.QueryRow("SELECT doc FROM builds WHERE id = ?", ids[i]).Scan(&doc); err != nil {
				return err
			}
			var b store.Build
			if err := json.Unmarshal(doc, &b); err != nil {
				return err
			}
			if b, _, err = b.Changed(store.Claim{Agent: "agent", Nonce: "n", Max: store.MaxAttempts, At: begin}); err != nil {
				return err
			}
			if doc, err = json.Marshal(b); err != nil {
				return err
			}
			if _, err := tx.Exec("UPDATE builds SET state = ?, owner = ?, doc = ? WHERE id = ?", b.State, b.Owner, doc, b.ID); err != nil {
				return err
			}
			return tx.Commit()
		})
		measured("each", time.Since(begin).Seconds()/float64(len(ids)))
		return err
	})
}

// insert inserts n lines in the chunks that keep makes of them, sixteen in a
// transaction, and nothing else.
func insert(ctx context.Context, j job) error {
	block := slices.Repeat(line, store.MaxChunk/len(line))
	return inTemp(func(dir string) error {
		db, err := openPool(storeIn(dir))
		if err != nil {
			return err
		}
		defer db.Close()
		if _, err := db.Exec("CREATE TABLE chunks (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)"); err != nil {
			return err
		}
		begin := time.Now()
		for left := j.n * len(line); left > 0; {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			for range 16 {
				if left <= 0 {
					break
				}
				if _, err := tx.Exec("INSERT INTO chunks (data) VALUES (?)", block[:min(left, len(block))]); err != nil {
					tx.Rollback()
					return err
				}
				left -= len(block)
			}
			if err := tx.Commit(); err != nil {
				return err
			}
		}
		measured("all", time.Since(begin).Seconds())
		return nil
	})
}

// spawn starts a shell that says it runs, as trigger has an agent do, n times.
func spawn(ctx context.Context, j job) error {
	return inTemp(func(dir string) error {
		door, err := newDoor(dir)
		if err != nil {
			return err
		}
		defer door.Close()
		waits := make([]time.Duration, j.n)
		for i := range waits {
			begin := time.Now()
			cmd := exec.CommandContext(ctx, "/bin/sh", "-e", "-c", door.knock())
			if err := cmd.Start(); err != nil {
				return err
			}
			if err := door.wait(); err != nil {
				return err
			}
			waits[i] = time.Since(begin)
			if err := cmd.Wait(); err != nil {
				return err
			}
		}
		measured("p50", quantile(waits, 0.5))
		return nil
	})
}

// stamp prints n lines, now and then one, that say when they were written.
func stamp(_ context.Context, j job) error {
	for range j.n {
		time.Sleep(5 * time.Millisecond)
		if _, err := fmt.Println(time.Now().UnixNano()); err != nil {
			return err
		}
	}
	return nil
}

// late is how long a line of stamp was under way.
func late(text string) (time.Duration, error) {
	now := time.Now().UnixNano()
	var at int64
	if _, err := fmt.Sscan(text, &at); err != nil {
		return 0, fmt.Errorf("%q: %w", text, err)
	}
	return time.Duration(now - at), nil
}

// relay shows what stamp prints over HTTP, and does nothing else with it.
func relay(ctx context.Context, j job) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cmd := exec.CommandContext(r.Context(), self, "stamp", fmt.Sprint(j.n))
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for buffer := make([]byte, 64<<10); ; {
			n, err := out.Read(buffer)
			w.Write(buffer[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				break
			}
		}
		cmd.Wait()
	}))
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var waits []time.Duration
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		wait, err := late(lines.Text())
		if err != nil {
			return err
		}
		waits = append(waits, wait)
	}
	if len(waits) != j.n {
		return fmt.Errorf("got %d lines of %d: %w", len(waits), j.n, io.ErrUnexpectedEOF)
	}
	measured("p50", quantile(waits, 0.5))
	return nil
}
