// An echo over getty. getty [-listen 127.0.0.1:0] [-pool]: handlers run on the reading goroutine, or with -pool in getty's
// task pool. A frame is passed on whole, so that neither side of it costs a copy that getty does not ask for.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"time"

	getty "github.com/apache/dubbo-getty"
)

const frameMax = 1 << 20

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	pool := flag.Bool("pool", false, "handle messages in a task pool")
	flag.Parse()
	getty.SetLogger(silence{})
	server := getty.NewTCPServer(append(options(*pool), getty.WithLocalAddress(*listen))...)
	server.RunEventLoop(func(session getty.Session) error {
		if conn, ok := session.Conn().(*net.TCPConn); ok {
			if err := conn.SetNoDelay(true); err != nil {
				return err
			}
		}
		session.SetMaxMsgLen(frameMax)
		session.SetPkgHandler(frames{copied: *pool || queued})
		session.SetEventListener(echo{})
		// Some versions spin after a session has closed, until this time is over.
		session.SetWaitTime(50 * time.Millisecond)
		configure(session, *pool)
		return nil
	})
	fmt.Println("listening on", server.(getty.StreamServer).Listener().Addr())
	select {}
}

// frames are a length of four bytes, most significant first, and as many bytes.
type frames struct{ copied bool }

func (f frames) Read(_ getty.Session, bytes []byte) (interface{}, int, error) {
	if len(bytes) < 4 {
		return nil, 0, nil
	}
	total := 4 + int(binary.BigEndian.Uint32(bytes))
	if len(bytes) < total {
		return nil, total, nil
	}
	if f.copied {
		return append([]byte(nil), bytes[:total]...), total, nil
	}
	return bytes[:total], total, nil
}

func (frames) Write(_ getty.Session, message interface{}) ([]byte, error) {
	return message.([]byte), nil
}

type echo struct{}

func (echo) OnMessage(session getty.Session, message interface{}) { write(session, message) }
func (echo) OnOpen(getty.Session) error                           { return nil }
func (echo) OnError(getty.Session, error)                         {}
func (echo) OnClose(getty.Session)                                {}
func (echo) OnCron(getty.Session)                                 {}

type silence struct{}

func (silence) Info(...interface{})           {}
func (silence) Warn(...interface{})           {}
func (silence) Error(...interface{})          {}
func (silence) Debug(...interface{})          {}
func (silence) Infof(string, ...interface{})  {}
func (silence) Warnf(string, ...interface{})  {}
func (silence) Errorf(string, ...interface{}) {}
func (silence) Debugf(string, ...interface{}) {}
