// Command hello greets whoever it is told to.
package main

import (
	"fmt"
	"os"
)

// Greeting is what hello says to name.
func Greeting(name string) string {
	if name == "" {
		name = "world"
	}
	return "hello, " + name
}

func main() {
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	fmt.Println(Greeting(name))
}
