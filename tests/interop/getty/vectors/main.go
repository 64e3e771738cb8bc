// Writes src/net/transport/compress/vectors.txt: what Go's own compressors, the ones getty uses, make of a few pieces.
// In this directory: go run . > ../../../../src/net/transport/compress/vectors.txt
package main

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"

	"github.com/golang/snappy"
)

// The pieces; src/net/transport/compress/tests.rs makes the same ones.
func pieces() [][]byte {
	state, noise := uint32(1), make([]byte, 100)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	return [][]byte{
		[]byte("hello"),
		bytes.Repeat([]byte("branch=42;"), 30),
		noise,
		make([]byte, 70000),
		[]byte("hello"),
	}
}

type flusher interface {
	io.WriteCloser
	Flush() error
}

// One line: the format's name and, in hex, what each piece and its flush became, at last what closing added.
func line(name string, out *bytes.Buffer, writer flusher) {
	fmt.Print(name)
	for _, piece := range pieces() {
		must(writer.Write(piece))
		must(0, writer.Flush())
		fmt.Printf(" %x", out.Bytes())
		out.Reset()
	}
	must(0, writer.Close())
	fmt.Printf(" %x\n", out.Bytes())
}

func must(_ int, err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	for _, level := range []int{1, 9, flate.DefaultCompression, flate.HuffmanOnly} {
		var out bytes.Buffer
		writer, err := flate.NewWriter(&out, level)
		must(0, err)
		line(fmt.Sprintf("deflate%d", level), &out, writer)
	}
	var out bytes.Buffer
	line("snappy", &out, snappy.NewBufferedWriter(&out))
}
