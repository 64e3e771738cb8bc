package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	getty "github.com/apache/dubbo-getty"
)

// driver sends and checks the echoes.
type driver struct {
	*options
	sync.Mutex
	runs   map[getty.Session]*run
	client getty.Client
	// Sessions opened, finished and closed.
	opened, finished, closed int
	alive                    chan struct{}
	beats                    int
}

// run is what happens on one session.
type run struct {
	echoes int
	tokens chan struct{}
}

func drive(o *options) {
	d := &driver{options: o, runs: map[getty.Session]*run{}, alive: make(chan struct{}, 1)}
	d.client = o.client()
	go d.client.RunEventLoop(func(session getty.Session) error { return o.configure(session, d) })
	go endWithStdin(func(string) {})
	for {
		select {
		case <-d.alive:
		case <-time.After(o.patience):
			d.Lock()
			echoes := d.beats
			for _, run := range d.runs {
				echoes += run.echoes
			}
			failed(fmt.Sprintf("no progress after %d echoes, %d sessions opened, %d closed", echoes, d.opened, d.closed))
		}
	}
}

func (d *driver) progress() {
	select {
	case d.alive <- struct{}{}:
	default:
	}
}

func (d *driver) OnOpen(session getty.Session) error {
	d.Lock()
	defer d.Unlock()
	d.opened++
	if d.opened > d.sessions && d.mode != "restart" {
		return nil
	}
	run := &run{tokens: make(chan struct{}, d.window)}
	d.runs[session] = run
	d.progress()
	if d.mode != "beats" {
		go d.send(session, run)
	}
	return nil
}

func (d *driver) send(session getty.Session, run *run) {
	udp := d.transport == "udp"
	for n := 0; n < d.messages; n++ {
		if d.mode != "mute" {
			run.tokens <- struct{}{}
		}
		var err error
		var message interface{} = d.payload(n)
		if udp {
			message = getty.UDPContext{Pkg: message}
		}
		switch d.mode {
		case "split":
			err = pieces(session.Conn(), frame(d.payload(n)))
		case "vectored":
			_, err = writeArray(session, frame(d.payload(n))[:head], d.payload(n))
		case "queued":
			err = write(session, message, 3*time.Second)
		default:
			err = write(session, message, 0)
		}
		if err != nil {
			say("error", err)
			return
		}
	}
	switch d.mode {
	case "mute":
		d.Lock()
		defer d.Unlock()
		d.end()
	case "remote":
		if err := write(session, []byte(closeWord), 0); err != nil {
			say("error", err)
		}
	}
}

// pieces writes a frame such that its head and its body arrive in parts.
func pieces(conn net.Conn, frame []byte) error {
	from := 0
	for _, to := range []int{1, 3, 4, 5, len(frame) - 1, len(frame)} {
		if to <= from || to > len(frame) {
			continue
		}
		if _, err := conn.Write(frame[from:to]); err != nil {
			return err
		}
		from = to
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

func (d *driver) OnMessage(session getty.Session, message interface{}) {
	d.Lock()
	defer d.Unlock()
	d.progress()
	if datagram, ok := message.(getty.UDPContext); ok {
		message = datagram.Pkg
	}
	if d.mode == "beats" {
		d.beats++
		if d.beats == d.messages {
			d.done()
		}
		return
	}
	run := d.runs[session]
	expected := []byte(closeWord)
	if run.echoes < d.messages {
		expected = d.payload(run.echoes)
	}
	if !bytes.Equal(message.([]byte), expected) {
		failed(fmt.Sprintf("echo %d is another", run.echoes))
	}
	run.echoes++
	select {
	case <-run.tokens:
	default:
	}
	if run.echoes == d.messages {
		d.complete()
	}
}

// complete goes on when all echoes of a session are there.
func (d *driver) complete() {
	switch d.mode {
	case "echo", "split", "vectored", "queued":
		d.end()
	case "restart":
		d.finished++
		if d.finished == 1 {
			say("ready")
		} else {
			d.done()
		}
	}
}

// end closes the client when every session has done its part. Closing a single one would make getty open another.
func (d *driver) end() {
	d.finished++
	if d.finished == d.sessions {
		go d.client.Close()
	}
}

func (d *driver) OnError(_ getty.Session, err error) { say("error", err) }

func (d *driver) OnClose(session getty.Session) {
	d.Lock()
	defer d.Unlock()
	d.progress()
	run, ok := d.runs[session]
	if !ok {
		return
	}
	delete(d.runs, session)
	d.closed++
	wanted := d.messages
	switch d.mode {
	case "restart", "beats":
		return
	case "mute":
		wanted = 0
	case "remote":
		wanted++
	}
	if run.echoes < wanted {
		failed(fmt.Sprintf("closed after %d echoes of %d", run.echoes, wanted))
	}
	if d.closed >= d.sessions {
		d.done()
	}
}

func (d *driver) OnCron(session getty.Session) {
	if d.mode == "beats" {
		if err := write(session, []byte(beatWord), 0); err != nil {
			say("error", err)
		}
	}
}

// done ends the process a moment later: getty closes sockets in goroutines of their own.
func (d *driver) done() {
	say("done", d.messages*d.sessions)
	time.AfterFunc(300*time.Millisecond, func() { os.Exit(0) })
}
