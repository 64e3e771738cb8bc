package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"time"

	getty "github.com/apache/dubbo-getty"
)

// configure is what an application does in getty's new-session callback.
func (o *options) configure(session getty.Session, listener getty.EventListener) error {
	if conn, ok := session.Conn().(*net.TCPConn); ok {
		if err := conn.SetNoDelay(true); err != nil {
			return err
		}
	}
	types := map[string]getty.CompressType{
		"explicit-none": getty.CompressNone,
		"zip":           getty.CompressZip,
		"speed":         getty.CompressBestSpeed,
		"best":          getty.CompressBestCompression,
		"huffman":       getty.CompressHuffman,
		"snappy":        getty.CompressSnappy,
	}
	if kind, ok := types[o.compress]; ok {
		session.SetCompressType(kind)
	} else if o.compress != "none" {
		return errors.New("compress: " + o.compress)
	}
	session.SetMaxMsgLen(payloadMax)
	if o.transport == "udp" {
		session.SetMaxMsgLen(60 << 10)
	}
	session.SetPkgHandler(frames{})
	session.SetEventListener(listener)
	session.SetCronPeriod(int(o.cron / time.Millisecond))
	session.SetWriteTimeout(5 * time.Second)
	// How long getty may take to notice that a session was closed; the TLS handshake runs under it too.
	session.SetReadTimeout(200 * time.Millisecond)
	if o.transport == "tls" || o.transport == "wss" {
		session.SetReadTimeout(time.Second)
	}
	if o.compress == "explicit-none" {
		// Its inflater never recovers from a read that timed out, and with this type, unlike the others, reads do.
		session.SetReadTimeout(3 * time.Second)
	}
	session.SetWaitTime(time.Second)
	return nil
}

func (o *options) server() getty.Server {
	at := getty.WithLocalAddress(o.address)
	path := getty.WithWebsocketServerPath("/echo")
	switch o.transport {
	case "tls":
		return getty.NewTCPServer(at, getty.WithServerSslEnabled(true), getty.WithServerTlsConfigBuilder(serverSide{o}))
	case "ws":
		return getty.NewWSServer(at, path)
	case "wss":
		return getty.NewWSSServer(at, path, getty.WithWebsocketServerCert(o.certificate),
			getty.WithWebsocketServerPrivateKey(o.key))
	case "udp":
		return newUDPServer(at)
	}
	return getty.NewTCPServer(at)
}

func (o *options) client() getty.Client {
	number := getty.WithConnectionNumber(o.sessions)
	interval := getty.WithReconnectInterval(int(o.interval))
	at := getty.WithServerAddress(o.address)
	switch o.transport {
	case "tls":
		return getty.NewTCPClient(at, number, interval, getty.WithClientSslEnabled(true),
			getty.WithClientTlsConfigBuilder(clientSide{o}))
	case "ws":
		return getty.NewWSClient(getty.WithServerAddress("ws://"+o.address+"/echo"), number, interval)
	case "wss":
		return getty.NewWSSClient(getty.WithServerAddress("wss://"+o.address+"/echo"), number, interval,
			getty.WithRootCertificateFile(o.trusted))
	case "udp":
		return getty.NewUDPClient(at, number, interval)
	}
	return getty.NewTCPClient(at, number, interval)
}

type serverSide struct{ *options }

func (o serverSide) BuildTlsConfig() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(o.certificate, o.key)
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, err
}

type clientSide struct{ *options }

func (o clientSide) BuildTlsConfig() (*tls.Config, error) {
	pem, err := os.ReadFile(o.trusted)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: trusted, ServerName: "localhost"}, err
}
