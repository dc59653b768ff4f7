// Fetch a page by https: the pool does the TLS, and net/http all the rest.
//
//	go build https.go            (or: gccgo -o https https.go)
//	./https https://www.example.org/index.html
//	./https https://127.0.0.1:8443/index.html www.example.org
//
// It says on standard error who the server has proved to be.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// Plain is the plaintext of one connection. What is Proven has the keys "remote", "local", "name",
// "version" and so on.
type Plain struct {
	net.Conn
	Proven  map[string]string
	control *net.UnixConn
	end     error
}

// StartTLS hands a connection over to the pool, which is closed here, whatever comes of it. Nothing
// may have been read from it ahead, such as by a bufio.Reader.
func StartTLS(connection *net.TCPConn, fields map[string]string) (*Plain, error) {
	defer connection.Close()
	path := os.Getenv("TLSTUNNEL_POOL")
	if path == "" {
		path = "/run/tlstunnel/pool.sock"
	}
	request := "tls\n"
	for key, value := range fields {
		if strings.ContainsAny(value, "\n\r\x00") {
			return nil, fmt.Errorf("%s has another line", key)
		}
		request += key + "=" + value + "\n"
	}
	control, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	plain, err := handOver(control, connection, request)
	if err != nil {
		control.Close()
	}
	return plain, err
}

func handOver(control *net.UnixConn, connection *net.TCPConn, request string) (*Plain, error) {
	raw, err := connection.SyscallConn()
	if err != nil {
		return nil, err
	}
	var sent error
	err = raw.Control(func(descriptor uintptr) {
		_, _, sent = control.WriteMsgUnix([]byte(request), syscall.UnixRights(int(descriptor)), nil)
	})
	if err == nil {
		err = sent
	}
	if err != nil {
		return nil, err
	}
	// Two readers of one connection would be the end of it.
	connection.Close()
	verb, answer, file, err := receive(control)
	if err != nil {
		return nil, err
	}
	if file != nil {
		defer file.Close()
	}
	if verb != "ok" || file == nil {
		return nil, fmt.Errorf("%s: %s", answer["reason"], answer["detail"])
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return &Plain{conn, answer, control, nil}, nil
}

// receive gives the next message, and the descriptor that came with it.
func receive(control *net.UnixConn) (string, map[string]string, *os.File, error) {
	message, rights := make([]byte, 65536), make([]byte, syscall.CmsgSpace(4*8))
	count, along, flags, _, err := control.ReadMsgUnix(message, rights)
	if err != nil {
		return "", nil, nil, err
	}
	var files []*os.File
	controls, _ := syscall.ParseSocketControlMessage(rights[:along])
	for _, each := range controls {
		descriptors, _ := syscall.ParseUnixRights(&each)
		for _, descriptor := range descriptors {
			syscall.CloseOnExec(descriptor)
			files = append(files, os.NewFile(uintptr(descriptor), "plaintext"))
		}
	}
	if len(files) > 1 || flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 {
		for _, each := range files {
			each.Close()
		}
		return "", nil, nil, fmt.Errorf("the pool says too much")
	}
	lines := strings.Split(string(message[:count]), "\n")
	answer := map[string]string{}
	for _, line := range lines[1:] {
		if key, value, found := strings.Cut(line, "="); found {
			answer[key] = value
		}
	}
	if len(files) == 0 {
		return lines[0], answer, nil, nil
	}
	return lines[0], answer, files[0], nil
}

// Read tells a cut from an end: after the one there may be more, which io.EOF would deny.
func (plain *Plain) Read(buffer []byte) (int, error) {
	if plain.end != nil {
		return 0, plain.end
	}
	count, err := plain.Conn.Read(buffer)
	if err == io.EOF || errors.Is(err, syscall.ECONNRESET) {
		plain.control.SetReadDeadline(time.Now().Add(15 * time.Second))
		verb, end, file, lost := receive(plain.control)
		if file != nil {
			file.Close()
		}
		if lost != nil {
			// Not wrapped: it may be an io.EOF, too.
			err = fmt.Errorf("the pool is gone: %v", lost)
		} else if verb != "end" || end["reason"] != "closed" {
			err = fmt.Errorf("the connection was cut: %s", end["reason"])
		}
		// The pool says it once.
		plain.end = err
	}
	return count, err
}

// Close closes both.
func (plain *Plain) Close() error {
	plain.control.Close()
	return plain.Conn.Close()
}

func main() {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: https URL [NAME]")
		os.Exit(2)
	}
	asked, err := url.Parse(os.Args[1])
	if err != nil {
		fail(err)
	}
	name := asked.Hostname()
	if len(os.Args) == 3 {
		name = os.Args[2]
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		fields := map[string]string{"role": "client", "remote": name, "alpn": "http/1.1"}
		plain, err := StartTLS(connection.(*net.TCPConn), fields)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "this is %s, %s\n", plain.Proven["remote"], plain.Proven["version"])
		return plain, nil
	}
	client := &http.Client{Transport: &http.Transport{DialTLSContext: dial}}
	response, err := client.Get(os.Args[1])
	if err != nil {
		fail(err)
	}
	defer response.Body.Close()
	if _, err = io.Copy(os.Stdout, response.Body); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "https:", err)
	os.Exit(1)
}
