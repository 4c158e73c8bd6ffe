package build

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// NewID makes the id of a build that is made now: a UUID of version 7 (RFC
// 9562), so ids sort by the millisecond they were made in. The rest is 74
// random bits. (The usual package for UUIDs brings in net, and with it cgo and
// a slower start of every command.)
func NewID(now time.Time) ID {
	var u [16]byte
	rand.Read(u[:]) // never fails
	ms := now.UnixMilli()
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	text := make([]byte, 36)
	hex.Encode(text[0:8], u[0:4])
	hex.Encode(text[9:13], u[4:6])
	hex.Encode(text[14:18], u[6:8])
	hex.Encode(text[19:23], u[8:10])
	hex.Encode(text[24:36], u[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return ID(text)
}
