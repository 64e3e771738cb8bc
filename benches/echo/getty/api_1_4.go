//go:build !getty1_3

package main

import (
	getty "github.com/apache/dubbo-getty"
	gxsync "github.com/dubbogo/gost/sync"
)

// A message is written before the call returns.
const queued = false

func options(pool bool) []getty.ServerOption {
	if pool {
		return []getty.ServerOption{getty.WithServerTaskPool(gxsync.NewTaskPoolSimple(0))}
	}
	return nil
}

func configure(getty.Session, bool) {}

func write(session getty.Session, message interface{}) {
	_, _, _ = session.WritePkg(message, 0)
}
