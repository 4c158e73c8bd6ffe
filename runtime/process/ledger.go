package process

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// A ledger tells the guard what to kill. It is memory that this process and
// its guards share, so keeping it costs a step no system call and wakes nobody,
// and it can be read when the process is no more.
//
// The first part holds marks, entries of the environment that every process of
// a build has, each after a zero byte and ended by one. The second holds
// processes: pid and start, a start of zero for a leader, whose process
// group, and perhaps session, is named after it.
//
// The zero ledger keeps nothing.
type ledger struct {
	file *os.File
	mem  []byte
}

const (
	ledgerMarks = 4096
	ledgerEntry = 16
	ledgerSize  = ledgerMarks + 4096*ledgerEntry
)

// openLedger makes an empty ledger.
func openLedger() (ledger, error) {
	f, err := sharedFile()
	if err != nil {
		return ledger{}, fmt.Errorf("open guard's ledger: %w", err)
	}
	if err := f.Truncate(ledgerSize); err != nil {
		f.Close()
		return ledger{}, fmt.Errorf("size guard's ledger: %w", err)
	}
	return mapLedger(f)
}

// mapLedger takes a ledger from the file that another process made.
func mapLedger(f *os.File) (ledger, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, ledgerSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return ledger{}, fmt.Errorf("map guard's ledger: %w", err)
	}
	return ledger{f, mem}, nil
}

// mark adds a mark. One that finds no room takes the place of all others.
func (l ledger) mark(entry string) {
	if l.mem == nil || len(entry)+2 > ledgerMarks {
		return
	}
	if slices.Contains(l.marks(), entry) {
		return
	}
	room := l.mem[:ledgerMarks]
	end := bytes.LastIndexFunc(room, func(r rune) bool { return r != 0 }) + 1
	if end > 0 {
		end++ // the zero byte that ends the last one
	}
	if end+len(entry)+1 > ledgerMarks {
		clear(room)
		end = 0
	}
	copy(room[end:], entry)
}

func (l ledger) marks() (marks []string) {
	for mark := range bytes.SplitSeq(l.mem[:ledgerMarks], []byte{0}) {
		if len(mark) > 0 {
			marks = append(marks, string(mark))
		}
	}
	return marks
}

// add enters a process, unless the ledger is full.
func (l ledger) add(pid int, start uint64) {
	for at := ledgerMarks; at < len(l.mem); at += ledgerEntry {
		if binary.NativeEndian.Uint64(l.mem[at:]) == 0 {
			binary.NativeEndian.PutUint64(l.mem[at+8:], start)
			binary.NativeEndian.PutUint64(l.mem[at:], uint64(pid))
			return
		}
	}
}

// remove takes a process out.
func (l ledger) remove(pid int, start uint64) {
	for at := ledgerMarks; at < len(l.mem); at += ledgerEntry {
		if binary.NativeEndian.Uint64(l.mem[at:]) == uint64(pid) && binary.NativeEndian.Uint64(l.mem[at+8:]) == start {
			binary.NativeEndian.PutUint64(l.mem[at:], 0)
			return
		}
	}
}

// entries returns the processes, start by pid.
func (l ledger) entries() map[int]uint64 {
	found := map[int]uint64{}
	for at := ledgerMarks; at < len(l.mem); at += ledgerEntry {
		if pid := binary.NativeEndian.Uint64(l.mem[at:]); pid != 0 {
			found[int(pid)] = binary.NativeEndian.Uint64(l.mem[at+8:])
		}
	}
	return found
}
