// Command print prints one line: what a Go program costs that does anything.
package main

import "fmt"

func main() { fmt.Println("piper 0.0.0") }
