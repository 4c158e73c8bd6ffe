package repl

import (
	"bufio"
	"io"
	"strings"
)

// A Pipe is an Editor of lines that nobody edits: those of a file, a program or
// a terminal that can do no more.
type Pipe struct {
	in     *bufio.Reader
	prompt io.Writer // nil: nobody is there to be asked
}

// NewPipe returns an Editor that reads from in, and writes prompts to prompt
// unless that is nil.
func NewPipe(in io.Reader, prompt io.Writer) *Pipe {
	return &Pipe{in: bufio.NewReader(in), prompt: prompt}
}

// Line implements Editor.
func (p *Pipe) Line(prompt string) (string, error) {
	if p.prompt != nil {
		io.WriteString(p.prompt, prompt)
	}
	var line strings.Builder
	long, any := false, false
	for {
		piece, err := p.in.ReadSlice('\n')
		any = any || len(piece) > 0
		if long = long || line.Len()+len(piece) > maxInput; !long {
			line.Write(piece)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && any, err == nil:
		default:
			return "", err
		}
		if long {
			return "", ErrTooLong
		}
		return strings.TrimSuffix(strings.TrimSuffix(line.String(), "\n"), "\r"), nil
	}
}
