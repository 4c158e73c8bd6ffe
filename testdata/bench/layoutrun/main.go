// Command layoutrun lays out a graph of N nodes a hundred times, and says what
// the median of it took in a line "measured p50 SECONDS".
//
//	layoutrun N
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/piper-build/piper/runtime/layout"
	"github.com/piper-build/piper/runtime/plan"
)

func main() {
	n := 0
	if len(os.Args) > 1 {
		n, _ = strconv.Atoi(os.Args[1])
	}
	if n < 1 {
		fmt.Fprintln(os.Stderr, "layoutrun: want N")
		os.Exit(1)
	}
	p := stages(n, 25)
	var took []time.Duration
	for range 100 {
		began := time.Now()
		layout.New(p)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	fmt.Printf("measured p50 %g\n", took[len(took)/2].Seconds())
}

// stages is a plan whose nodes stand in so many stages and each wait for one to
// three that stand about as high in the three stages before.
func stages(nodes, stages int) *plan.Plan {
	r := rand.New(rand.NewPCG(1, 2))
	size := max(1, nodes/stages)
	p := &plan.Plan{Pipeline: "build"}
	for i := range nodes {
		n := plan.Node{Name: fmt.Sprintf("step/%d", i), Step: &plan.Step{}}
		if i >= size {
			for range 1 + r.IntN(3) {
				stage := max(0, i/size-1-r.IntN(2)*r.IntN(3))
				n.Needs = append(n.Needs, fmt.Sprintf("step/%d", stage*size+(i+r.IntN(5)-2+size)%size))
			}
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}
