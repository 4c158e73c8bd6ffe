package logs

// SetBlockSize changes how many bytes of lines a block of a signature has, and
// returns what changes it back.
func SetBlockSize(n int) (back func()) {
	was := blockSize
	blockSize = n
	return func() { blockSize = was }
}
