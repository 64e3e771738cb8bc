//go:build getty1_3

package main

import (
	"time"

	getty "github.com/apache/dubbo-getty"
	gxsync "github.com/dubbogo/gost/sync"
)

// With a timeout this version queues a message and writes up to ten of them at once.
const queued = true

var tasks *gxsync.TaskPool

func options(pool bool) []getty.ServerOption {
	if pool {
		tasks = gxsync.NewTaskPool()
	}
	return nil
}

func configure(session getty.Session, pool bool) {
	session.SetWQLen(1024)
	if pool {
		session.SetTaskPool(tasks)
	}
}

func write(session getty.Session, message interface{}) {
	_ = session.WritePkg(message, 5*time.Second)
}
