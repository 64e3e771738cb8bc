//go:build getty1_3

package main

import (
	"time"

	getty "github.com/apache/dubbo-getty"
)

func newUDPServer(at getty.ServerOption) getty.Server { return getty.NewUDPPEndPoint(at) }

// With a timeout this version queues the message and writes up to ten of them at once.
func write(session getty.Session, message interface{}, timeout time.Duration) error {
	return session.WritePkg(message, timeout)
}

func writeArray(session getty.Session, parts ...[]byte) (int, error) {
	return 0, session.WriteBytesArray(parts...)
}
