package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest/server"
)

// A database is the RethinkDB that agents share, each by a link of its own to all
// servers.
type database struct {
	address rethinkdb.Address
	servers []*server.Process // none: it is somebody else's, and is not harmed
}

// serverVariable names a server that is there.
const serverVariable = "PIPER_TEST_RETHINKDB"

// newDatabase makes a database, on n servers of its own unless there is one.
func newDatabase(ctx context.Context, piper, dir string, n int) (d *database, err error) {
	d = &database{}
	hosts := []string{os.Getenv(serverVariable)}
	if hosts[0] == "" {
		if hosts, err = d.start(dir, n); err != nil {
			return d, err
		}
	}
	if d.address, err = rethinkdb.ParseURL(rethinkdb.Scheme + "://" + strings.Join(hosts, ",") + "/soak_" + strings.ToLower(rand.Text()[:12])); err != nil {
		return d, err
	}
	// A server that has just joined is not known to all yet.
	for begin := time.Now(); ; time.Sleep(time.Second) {
		out, err := exec.CommandContext(ctx, piper, "db", "init", "--store", d.address.String(), "--replicas", fmt.Sprint(max(1, len(d.servers)))).CombinedOutput()
		if err == nil {
			return d, nil
		}
		if time.Since(begin) > 20*time.Second {
			return d, fmt.Errorf("piper db init: %w\n%s", err, out)
		}
	}
}

// start starts n servers that know each other.
func (d *database) start(dir string, n int) (hosts []string, err error) {
	var join []string
	for i := range n {
		one, err := server.Start(filepath.Join(dir, fmt.Sprint("rethinkdb-", i)), join...)
		if err != nil {
			return nil, err
		}
		d.servers, hosts = append(d.servers, one), append(hosts, one.Host)
		join = d.servers[0].Join()
	}
	return hosts, nil
}

// end ends the servers, or leaves the one that was there as it was.
func (d *database) end() {
	if len(d.servers) > 0 {
		for _, one := range d.servers {
			one.Kill()
		}
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
	if link, err = server.NewProxy(d.address.Hosts...); err != nil {
		return "", nil, err
	}
	near := d.address
	near.Hosts = []string{link.Host}
	return near.String(), link, nil
}

// harms are what databases and the way to them suffer. Only a link that is stalled
// for longer than a lease is an agent's death.
func (d *database) harms() (all []harm) {
	if len(d.servers) > 0 {
		all = append(all,
			harm{name: "server killed", often: 3, do: func(v victim) {
				i := v.random.IntN(len(d.servers))
				d.servers[i].Kill()
				v.sleep(2 * v.while)
				again, err := server.StartAgain(d.servers[i])
				if err != nil {
					panic(err) // nothing can be told without it
				}
				d.servers[i] = again
			}},
			harm{name: "server stopped", often: 2, do: func(v victim) {
				one := d.servers[v.random.IntN(len(d.servers))]
				one.Stop()
				v.sleep(time.Second + time.Duration(v.random.Int64N(int64(2*v.lease))))
				one.Continue()
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

// runs reports whether a process is one of the servers, or one of their own.
func (d *database) runs(pid string) bool {
	if d == nil {
		return false
	}
	stat, _ := os.ReadFile("/proc/" + pid + "/stat")
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	return slices.ContainsFunc(d.servers, func(one *server.Process) bool {
		server := fmt.Sprint(one.Process.Pid)
		return pid == server || len(fields) > 1 && fields[1] == server
	})
}
