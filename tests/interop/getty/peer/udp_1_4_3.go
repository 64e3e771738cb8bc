//go:build getty1_4_3

package main

import getty "github.com/apache/dubbo-getty"

func newUDPServer(at getty.ServerOption) getty.Server { return getty.NewUDPPEndPoint(at) }
