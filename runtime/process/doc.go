// Package process is the only door to the operating system's processes.
//
// Its Executor runs a step as a tree of processes: the leader, which is the
// step's command, and all that comes from it. The leader starts a process
// group of its own, and a session where this process has a terminal, so Ctrl-C
// reaches Piper alone and no step can ask at the terminal. Its
// input is empty, both its output streams are one pipe, and nothing else that
// Piper has open reaches it. A step is over when its leader has ended, nobody
// writes to the pipe any more, and nothing of the tree lives: what a step
// leaves behind may finish writing for a moment and is killed then.
//
// A step is stopped by asking every process of its tree to end (SIGTERM, and
// SIGCONT for those that are stopped), waiting for the grace, and killing the
// tree.
//
// # Who belongs to a step
//
// On Linux this process makes itself a subreaper: a process that loses its
// parent becomes a child of this one, whatever it did to get away, so nothing
// is ever out of sight, and that there are no children but leaders shows that
// nothing was left behind. An orphan belongs to the step in whose group or
// session it is, whose mark ($PIPER_OUTPUT, which no two attempts share) is in
// its environment, whose output it holds, or in whose tree it was seen before.
// One that has shed all of these came from a step that ran when it was first
// seen, and is killed when the last of those ends.
//
// When this process is itself killed, its guard does the same: a second process
// that waits for the end of a pipe and becomes the same program then, see
// GuardMain. It finds what is left by what the ledger, memory that both share,
// tells of leaders and orphans, and by $PIPER_BUILD in the environment.
//
// Other systems have no subreaper and do not show environments. There the tree
// is the session of the leader and what can be traced to it by its parents. A
// process that starts a session of its own and loses its parent before the end
// of the step escapes.
//
// # What is not bounded
//
// How many processes a step has, how much memory and processor they take, and
// whom they speak to: they are processes of the same user. Bounds take another
// user, cgroups or namespaces, which are for whoever starts Piper to give it. From
// which files they are kept is for a Confinement to say. When memory runs out the
// system is told to kill steps first, see Expendable.
//
// # What a step costs
//
// As little as a process can: one fork by way of package vfork, one pipe, one
// poll loop in one thread. No goroutine is started for a step that is over within 20 ms.
package process
