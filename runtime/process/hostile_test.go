package process_test

import (
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
)

// An escape is a way to leave processes behind. In its script, $H is this test
// binary as a helper, $D a directory in which each process that is to be found
// leaves a file, $T the token in their command lines.
type escape struct {
	name   string
	script string
	n      int  // how many processes there are to find
	linux  bool // it takes a subreaper to find them
	shed   bool // nothing tells which step they came from
}

var newOne = escape{"a process that is a new one all the time", `echo '[ -f $D/$1 ] || echo >$D/$1; sh $D/../h$T x & exit' >$D/../h$T; sh $D/../h$T x >/dev/null 2>&1 &`, 1, false, false}

var escapes = []escape{
	{"background", `$H wait $D $T &`, 1, false, false},
	{"background without output", `$H wait $D $T >/dev/null 2>&1 &`, 1, false, false},
	{"nohup", `nohup $H wait $D $T >/dev/null 2>&1 &`, 1, false, false},
	{"stubborn", `$H stubborn $D $T &`, 1, false, false},
	{"stubborn and without output", `$H stubborn $D $T >/dev/null 2>&1 &`, 1, false, false},
	{"session", `$H daemon s wait $D $T`, 1, true, false},
	{"session with output", `$H daemon so wait $D $T`, 1, true, false},
	{"double fork", `$H daemon n wait $D $T`, 1, false, false},
	{"all traces shed", `$H daemon se stubborn $D $T`, 1, true, true},
	{"all traces shed but output", `$H daemon seo stubborn $D $T`, 1, true, false},
	{"forty in the background", `for i in 0 1 2 3 4 5 6 7; do for j in 0 1 2 3 4; do $H wait $D $T & done; done`, 40, false, false},
	{"forty sessions", `for i in 0 1 2 3 4 5 6 7; do for j in 0 1 2 3 4; do $H daemon s stubborn $D $T & done; done`, 40, true, false},
	{"a bush of sessions", `$H bush $D $T 3 4 &`, 85, true, false},
	{"a tree of forks", `echo 'echo >$D/$$; [ $1 = 0 ] || { sh $D/../f$T $(($1-1)) & sh $D/../f$T $(($1-1)) & }; while :; do sleep 1000; done' >$D/../f$T; sh $D/../f$T 7 $T >/dev/null 2>&1 &`, 255, false, false},
	newOne,
	{"stopped", `$H wait $D $T & p=$!; until [ -f $D/$p ]; do sleep 0.01; done; kill -STOP $p`, 1, false, false},
	{"stopped sessions", `$H daemon s stubborn $D $T; until [ "$(ls $D)" ]; do sleep 0.01; done; kill -STOP $(ls $D)`, 1, true, false},
}

// script is the escape, which goes on once all its processes are there.
func (e escape) text(dir, token string) string {
	return strings.NewReplacer("$H", self()+" helper", "$D", dir, "$T", token).Replace(fmt.Sprintf(
		"%s\nuntil [ $(ls $D | wc -l) -ge %d ]; do sleep 0.02; done\n", e.script, e.n))
}

// alone lets a test run beside others unless that makes a difference: what has
// shed all traces is killed when no step runs that it could have come from.
func alone(t *testing.T, e escape) {
	if !e.shed {
		t.Parallel()
	}
}

// TestHostileStep has the ways in which a step can misbehave, and what must
// come of each.
func TestHostileStep(t *testing.T) {
	for _, c := range escapes {
		if c.linux && !subreaper {
			continue
		}
		// How the step ends must make no difference.
		t.Run("leaves "+c.name, func(t *testing.T) {
			alone(t, c)
			dir, token := t.TempDir(), token()
			e := executor(t)
			e.Drain = 10 * time.Millisecond
			r := e.Execute(t.Context(), script(t, &keeper{}, c.text(dir, token)))
			require.Empty(t, living(t, token))
			require.Equal(t, build.Success, r.State, show(r))
			require.Contains(t, r.Reason, "that it left behind")
		})
		t.Run("cancelled with "+c.name, func(t *testing.T) {
			alone(t, c)
			dir, token := t.TempDir(), token()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &keeper{wrote: make(chan struct{})}
			tk := script(t, out, c.text(dir, token)+"echo there; sleep 1000")
			tk.Grace = 100 * time.Millisecond
			go func() { <-out.wrote; cancel() }()
			r := executor(t).Execute(ctx, tk)
			require.Empty(t, living(t, token))
			require.Equal(t, build.Cancelled, r.State, show(r))
		})
	}
}

// subreaper says that orphans come to this process.
const subreaper = goruntime.GOOS == "linux"

// TestGuard kills the process that runs a step.
func TestGuard(t *testing.T) {
	if !apart(t) {
		return
	}
	for _, c := range escapes {
		if c.linux && !subreaper {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			killPiper(t, c, "exec env -i "+self()+" helper wait $D $T", c.n+1)
		})
	}
	if goruntime.GOOS == "linux" {
		t.Run("whose program has gone", func(t *testing.T) {
			t.Parallel()
			killPiper(t, escapes[0], `rm "$PIPER_TEST_GUARD"; exec env -i `+self()+" helper wait $D $T", escapes[0].n+1)
		})
	}
}

// killPiper runs an escape in a process of its own, followed by another
// script, and kills that process once n processes are there.
func killPiper(t *testing.T, c escape, more string, n int) {
	dir, token := t.TempDir(), token()
	text := c.text(dir, token) + strings.NewReplacer("$D", dir, "$T", token).Replace(more)
	args := []string{text}
	if strings.Contains(c.name, "shed") {
		args = append(args, dir)
		n++
	}
	cmd := piperCommand(t, token, args...)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	eventually(t, "the step's processes", func() bool { return files(dir) >= n })
	eventually(t, "the guard", func() bool { return strings.Contains(strings.Join(living(t, token), "\n"), "guard-"+token) })
	require.NoError(t, cmd.Process.Kill())
	err := cmd.Wait()
	require.ErrorContains(t, err, syscall.SIGKILL.String())
	eventually(t, "the end of all processes", func() bool { return len(living(t, token)) == 0 })
}
