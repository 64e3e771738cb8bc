package main

import (
	"sync"

	getty "github.com/apache/dubbo-getty"
)

type echo struct {
	*options
	sync.Mutex
	counts map[getty.Session]int
}

// serve echoes, or only counts in mode mute. Standard input: `close` closes every session, its end ends the process.
func serve(o *options) {
	listener := &echo{options: o, counts: map[getty.Session]int{}}
	server := o.server()
	server.RunEventLoop(func(session getty.Session) error { return o.configure(session, listener) })
	say("listening", o.address)
	endWithStdin(func(order string) {
		listener.Lock()
		defer listener.Unlock()
		for session := range listener.counts {
			session.Close()
		}
	})
}

func (e *echo) OnOpen(session getty.Session) error {
	e.Lock()
	defer e.Unlock()
	e.counts[session] = 0
	say("open")
	return nil
}

func (e *echo) OnMessage(session getty.Session, message interface{}) {
	e.Lock()
	e.counts[session]++
	e.Unlock()
	if e.mode == "mute" {
		return
	}
	if err := write(session, message, 0); err != nil {
		say("error", err)
	}
	if payload, ok := message.([]byte); ok && string(payload) == closeWord {
		session.Close()
	}
}

func (e *echo) OnError(_ getty.Session, err error) { say("error", err) }

func (e *echo) OnClose(session getty.Session) {
	e.Lock()
	defer e.Unlock()
	if count, ok := e.counts[session]; ok {
		delete(e.counts, session)
		say("closed", count)
	}
}

func (e *echo) OnCron(getty.Session) {}
