// The seata-go client against a coordinator: the same basics as the Java program beside it, with TM and RM on the one
// connection that seata-go uses for both. Prints a line for each scenario and a summary at the end; a line that starts with
// "@" asks the driver on the other side of standard output to stop or start the coordinator.
package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/seata/seata-go/pkg/client"
)

const scenarioLimit = 120 * time.Second

// suite counts results and talks with the driver.
type suite struct {
	out            *os.File
	in             *bufio.Reader
	only           *regexp.Regexp
	passed, failed int
}

func main() {
	s := &suite{out: os.Stdout, in: bufio.NewReader(os.Stdin), only: regexp.MustCompile(os.Getenv("INTEROP_ONLY"))}
	// The client logs to standard output, which belongs to the driver here.
	os.Stdout = os.Stderr
	client.InitPath(os.Getenv("INTEROP_CONFIG"))
	j := newJournal()
	if err := serveAT(j); err != nil {
		fmt.Fprintln(s.out, "FAIL start 0 ms:", err)
		os.Exit(1)
	}
	runTransactions(s, j)
	runRestarts(s, j)
	fmt.Fprintf(s.out, "%d passed, %d failed\n", s.passed, s.failed)
	if s.failed > 0 {
		os.Exit(1)
	}
}

func (s *suite) scenario(name string, body func() error) {
	if !s.only.MatchString(name) {
		return
	}
	start := time.Now()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- body()
	}()
	var err error
	select {
	case err = <-done:
	case <-time.After(scenarioLimit):
		err = fmt.Errorf("not finished after %v", scenarioLimit)
	}
	ms := time.Since(start).Milliseconds()
	if err != nil {
		s.failed++
		fmt.Fprintf(s.out, "FAIL %s %d ms: %s\n", name, ms, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	s.passed++
	fmt.Fprintf(s.out, "PASS %s %d ms\n", name, ms)
}

// control asks the driver to "kill" or "start" the coordinator and returns when that is done.
func (s *suite) control(order string) error {
	fmt.Fprintln(s.out, "@"+order)
	answer, err := s.in.ReadString('\n')
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "ok" {
		return fmt.Errorf("driver could not %s the coordinator: %s", order, answer)
	}
	return nil
}

// eventually asks again until the condition holds.
func eventually(limit time.Duration, what string, condition func() bool) error {
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v", what, limit)
		}
	}
	return nil
}

func equal[T comparable](expected, actual T, what string) error {
	if expected != actual {
		return fmt.Errorf("%s: expected %v, got %v", what, expected, actual)
	}
	return nil
}

// first returns the first error of a list of checks, which are all made.
func first(checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}
