package main

import (
	"encoding/binary"
	"errors"

	getty "github.com/apache/dubbo-getty"
)

const (
	head       = 4
	payloadMax = 4 << 20
	closeWord  = "close"
	beatWord   = "beat"
)

// frames is the codec: one frame is one package. A datagram's package is wrapped with its address.
type frames struct{}

func (frames) Read(_ getty.Session, data []byte) (interface{}, int, error) {
	if len(data) < head {
		return nil, 0, nil
	}
	length := int(binary.BigEndian.Uint32(data))
	if length > payloadMax {
		return nil, 0, errors.New("a length no peer sends")
	}
	if len(data) < head+length {
		return nil, head + length, nil
	}
	// getty hands out its buffer, which it reuses.
	return append([]byte(nil), data[head:head+length]...), head + length, nil
}

func (frames) Write(_ getty.Session, message interface{}) ([]byte, error) {
	if datagram, ok := message.(getty.UDPContext); ok {
		message = datagram.Pkg
	}
	payload, ok := message.([]byte)
	if !ok {
		return nil, errors.New("not a payload")
	}
	return frame(payload), nil
}

func frame(payload []byte) []byte {
	bytes := make([]byte, head+len(payload))
	binary.BigEndian.PutUint32(bytes, uint32(len(payload)))
	copy(bytes[head:], payload)
	return bytes
}

// payload is the n-th message: text-like and different from its neighbours.
func (o *options) payload(n int) []byte {
	bytes := make([]byte, o.sizes[n%len(o.sizes)])
	for i := range bytes {
		bytes[i] = byte(n*31 + (i%64)*7 + i>>10)
	}
	return bytes
}
