package progress

// appendClean appends what a terminal would show of a line that a step wrote.
func appendClean(dst, line []byte, color bool) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	for _, c := range line {
		if c < ' ' && c != '\t' || c > '~' {
			return append(dst, clean(string(line))...)
		}
	}
	return append(dst, line...)
}
