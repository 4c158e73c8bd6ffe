package runner_test

import (
	"fmt"
	"net"
	"os"
	"time"
)

// helper is each program that a test needs: a mode, and what that takes.
func helper(mode string, args []string) int {
	switch mode {
	case "listen": // PORT: take connections there
		l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer l.Close()
		time.Sleep(time.Hour)
	default:
		fmt.Fprintln(os.Stderr, "no such helper:", mode)
		return 2
	}
	return 0
}

// self is this program.
func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}
