// Package byteio stands in for the package of this name that seata-go imports and that Go's module proxy does not serve.
// It has what seata-go uses of it: the type code at the head of each message.
package byteio

import (
	"encoding/binary"
	"io"
)

// BigEndianReader reads integers in network byte order.
type BigEndianReader struct {
	io.Reader
}

// ReadInt16 reads two bytes and says how many it could read.
func (r *BigEndianReader) ReadInt16() (int16, int, error) {
	var bytes [2]byte
	n, err := io.ReadFull(r.Reader, bytes[:])
	return int16(binary.BigEndian.Uint16(bytes[:])), n, err
}
