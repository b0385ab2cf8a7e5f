package line

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

func keys(t *testing.T, text string) map[string][]byte {
	ring := map[string][]byte{}
	for _, item := range strings.Split(text, ",") {
		id, encoded, _ := strings.Cut(item, ":")
		key, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		ring[id] = key
	}
	return ring
}

// The vectors are the ones the Python side runs.
func TestIdentityVectors(t *testing.T) {
	data, err := os.ReadFile("../identity.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Keys  string
		Cases []struct {
			Name, Proof, Audience, RequestID, UserID string
			NowS                                     int64
			Valid                                    bool
		}
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, c := range vectors.Cases {
		w := &Writer{Service: c.Audience, Keys: keys(t, vectors.Keys), Now: func() time.Time { return time.Unix(c.NowS, 0) }}
		if got := w.Proved(c.Proof, c.RequestID, c.UserID); got != c.Valid {
			t.Errorf("%s: proved is %v", c.Name, got)
		}
	}
}

// One line for a served, a refused, an unknown and a proved RPC, to the file that LINES names (checked by check_line.py).
func TestServedRPCsHaveLines(t *testing.T) {
	path := os.Getenv("LINES")
	if path == "" {
		path = t.TempDir() + "/lines.jsonl"
	}
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &Writer{Out: out, Service: "backend", Version: "r1", Env: "test", Instance: "go1", Keys: map[string][]byte{"k1": []byte("0123456789abcdef")}}
	server := grpc.NewServer(grpc.UnaryInterceptor(w.Unary), grpc.StreamInterceptor(w.Stream))
	healthpb.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client := healthpb.NewHealthClient(connection)
	requestID := newRequestID(time.Now())
	expiry := strconv.FormatInt(time.Now().Add(30*time.Second).Unix(), 16)
	proof := "p2.k1." + expiry + "." + mac([]byte("0123456789abcdef"), domains["2"], "backend", "花子", expiry)
	proved := metadata.AppendToOutgoingContext(context.Background(), "x-request-id", requestID, "x-user-id", "%E8%8A%B1%E5%AD%90",
		"x-identity-proof", proof, "traceparent", "00-"+requestID+"-b7ad6b7169203331-01")
	claimed := metadata.AppendToOutgoingContext(context.Background(), "x-request-id", requestID, "x-user-id", "root")
	var trailer metadata.MD
	if _, err := client.Check(proved, &healthpb.HealthCheckRequest{}, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	if got := trailer.Get("x-request-id"); len(got) != 1 || got[0] != requestID {
		t.Errorf("x-request-id is %v", got)
	}
	client.Check(claimed, &healthpb.HealthCheckRequest{Service: "nobody"})
	watching, stop := context.WithCancel(context.Background())
	stream, err := client.Watch(watching, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	stream.Recv()
	stop()
	server.GracefulStop()
	out.Close()
	data, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), data)
	}
	for index, wanted := range []string{`"userId":"花子","rpc":"grpc.health.v1.Health/Check","status":"OK"`,
		`"userClaimed":"root","rpc":"grpc.health.v1.Health/Check","status":"NOT_FOUND"`, `"status":"CANCELLED","outcome":"client_gone"`} {
		if !strings.Contains(lines[index], wanted) {
			t.Errorf("line %d lacks %s: %s", index, wanted, lines[index])
		}
	}
}
