// A real getty endpoint, driven by flags: an echo server, or a client that checks its echoes. Frames are a 4-byte
// big-endian length of the payload and the payload. tests/interop/getty/README.md describes the flags and the lines it
// prints; the Rust program beside it takes the same.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	getty "github.com/apache/dubbo-getty"
)

type options struct {
	transport, address, compress, mode   string
	messages, window, sessions           int
	sizes                                []int
	cron, patience, interval             time.Duration
	certificate, key, trusted, directory string
}

func main() {
	if len(os.Args) < 2 {
		failed("serve, drive or certificates")
	}
	o := options{}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.transport, "transport", "tcp", "tcp, tls, ws, wss or udp")
	flags.StringVar(&o.address, "at", "", "host:port to listen on or connect to")
	flags.StringVar(&o.compress, "compress", "none", "none, explicit-none, zip, speed, best, huffman or snappy")
	flags.StringVar(&o.mode, "mode", "echo", "what the client does")
	flags.IntVar(&o.messages, "messages", 100, "per session")
	flags.IntVar(&o.window, "window", 16, "messages under way per session")
	flags.IntVar(&o.sessions, "sessions", 1, "connections of the client")
	flags.DurationVar(&o.cron, "cron", time.Minute, "getty's cron period")
	flags.DurationVar(&o.patience, "patience", 10*time.Second, "time without progress after which the client gives up")
	flags.DurationVar(&o.interval, "interval", 100*time.Millisecond, "reconnect interval")
	flags.StringVar(&o.certificate, "certificate", "", "PEM file")
	flags.StringVar(&o.key, "key", "", "PEM file")
	flags.StringVar(&o.trusted, "trusted", "", "PEM file")
	flags.StringVar(&o.directory, "directory", "", "where certificates go")
	sizes := flags.String("sizes", "1,5,100,1000", "lengths of the payloads, in turn")
	if err := flags.Parse(os.Args[2:]); err != nil {
		failed(err)
	}
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 {
			failed("sizes: " + size)
		}
		o.sizes = append(o.sizes, n)
	}
	if os.Getenv("GETTY_LOG") == "" {
		getty.SetLogger(silence{})
	}
	switch os.Args[1] {
	case "serve":
		serve(&o)
	case "drive":
		drive(&o)
	case "certificates":
		certificates(o.directory)
	default:
		failed("serve, drive or certificates, not " + os.Args[1])
	}
}

var printing sync.Mutex

// say prints one line; the runner reads them.
func say(words ...interface{}) {
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(words...)
}

func failed(why interface{}) {
	say("failed", why)
	os.Exit(1)
}

// endWithStdin ends the process when the runner is gone.
func endWithStdin(orders func(string)) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		orders(lines.Text())
	}
	os.Exit(0)
}

type silence struct{}

func (silence) Info(...interface{})           {}
func (silence) Warn(...interface{})           {}
func (silence) Error(...interface{})          {}
func (silence) Debug(...interface{})          {}
func (silence) Infof(string, ...interface{})  {}
func (silence) Warnf(string, ...interface{})  {}
func (silence) Errorf(string, ...interface{}) {}
func (silence) Debugf(string, ...interface{}) {}
