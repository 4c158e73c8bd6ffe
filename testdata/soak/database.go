package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest/server"
)

// A database is the RethinkDB that agents share, each by a link of its own.
type database struct {
	address rethinkdb.Address
	server  *server.Process // nil: it is somebody else's, and is not harmed
}

// serverVariable names a server that is there.
const serverVariable = "PIPER_TEST_RETHINKDB"

// newDatabase makes a database, on a server of its own unless there is one.
func newDatabase(ctx context.Context, piper, dir string) (d *database, err error) {
	d = &database{}
	host := os.Getenv(serverVariable)
	if host == "" {
		if d.server, err = server.Start(filepath.Join(dir, "rethinkdb")); err != nil {
			return nil, err
		}
		host = d.server.Host
	}
	if d.address, err = rethinkdb.ParseURL(rethinkdb.Scheme + "://" + host + "/soak_" + strings.ToLower(rand.Text()[:12])); err != nil {
		return d, err
	}
	if out, err := exec.CommandContext(ctx, piper, "db", "init", "--store", d.address.String()).CombinedOutput(); err != nil {
		return d, fmt.Errorf("piper db init: %w\n%s", err, out)
	}
	return d, nil
}

// end ends the server, or leaves it as it was.
func (d *database) end() {
	if d.server != nil {
		d.server.Kill()
		return
	}
	session, err := r.Connect(r.ConnectOpts{Addresses: d.address.Hosts})
	if err == nil {
		_, err = r.DBDrop(d.address.Database).RunWrite(session)
	}
	if err != nil {
		fmt.Println("soak: database", d.address, "stays:", err)
	}
}

// connect makes a link for one agent, and returns the store at its end.
func (d *database) connect() (store string, link *server.Proxy, err error) {
	if link, err = server.NewProxy(d.address.Hosts[0]); err != nil {
		return "", nil, err
	}
	near := d.address
	near.Hosts = []string{link.Host}
	return near.String(), link, nil
}

// harms are what databases and the way to them suffer. Only a link that is stalled
// for longer than a lease is an agent's death.
func (d *database) harms() (all []harm) {
	if d.server != nil {
		all = append(all,
			harm{name: "server killed", often: 3, do: func(v victim) {
				d.server.Kill()
				v.sleep(2 * v.while)
				again, err := server.StartAgain(d.server)
				if err != nil {
					panic(err) // nothing can be told without it
				}
				d.server = again
			}},
			harm{name: "server stopped", often: 2, do: func(v victim) {
				d.server.Stop()
				v.sleep(time.Second + time.Duration(v.random.Int64N(int64(2*v.lease))))
				d.server.Continue()
			}})
	}
	return append(all,
		harm{name: "link cut", often: 2, link: true, do: func(v victim) {
			for range 3 {
				v.link.Cut()
				v.sleep(v.while / 3)
			}
		}},
		harm{name: "link half closed", often: 1, link: true, do: func(v victim) { v.link.HalfClose() }},
		harm{name: "answers lost", often: 2, link: true, do: func(v victim) {
			v.link.StallAnswers()
			v.sleep(v.lease / 6)
			v.link.Cut()
			v.link.Resume()
		}},
		harm{name: "link stalled past the lease", often: 2, link: true, fatal: true, do: func(v victim) {
			v.link.Stall()
			v.sleep(v.lease * 3 / 2)
			v.link.Resume()
		}},
		harm{name: "link delayed", often: 1, link: true, do: func(v victim) {
			v.link.Delay(v.lease / 20)
			v.sleep(v.lease)
			v.link.Resume()
		}})
}

// runs reports whether a process is the server, or one of its own.
func (d *database) runs(pid string) bool {
	if d == nil || d.server == nil {
		return false
	}
	stat, _ := os.ReadFile("/proc/" + pid + "/stat")
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	server := fmt.Sprint(d.server.Process.Pid)
	return pid == server || len(fields) > 1 && fields[1] == server
}
