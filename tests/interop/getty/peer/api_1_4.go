//go:build !getty1_3

package main

import (
	"time"

	getty "github.com/apache/dubbo-getty"
)

func write(session getty.Session, message interface{}, timeout time.Duration) error {
	_, _, err := session.WritePkg(message, timeout)
	return err
}

func writeArray(session getty.Session, parts ...[]byte) (int, error) {
	return session.WriteBytesArray(parts...)
}
