// Package line writes dodai's line schema v1 from a Go gRPC server: one JSON line for each RPC, with the request id,
// the trace and the proved user of the tier that called. Copy the file; it needs nothing but grpc itself.
//
//	server := grpc.NewServer(
//		grpc.UnaryInterceptor(writer.Unary),
//		grpc.StreamInterceptor(writer.Stream),
//	)
package line

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	maxLine   = 4096
	domain    = "dodai identity v1"
	lifetime  = 60 * time.Second
	clockSkew = 5 * time.Second
)

var (
	validID     = regexp.MustCompile(`\A[A-Za-z0-9._:-]{8,64}\z`)
	hexID       = regexp.MustCompile(`\A[0-9a-f]{32}\z`)
	traceparent = regexp.MustCompile(`\A00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\z`)
	proofForm   = regexp.MustCompile(`\Ap([12])\.([A-Za-z0-9_-]{1,16})\.([0-9a-f]{8,10})\.([A-Za-z0-9_-]{43})\z`)
)

// What a mac begins with, by the version of the proof.
var domains = map[string]string{"1": domain, "2": "dodai identity v2"}

// Request is what a handler knows about the RPC it serves. UserID is proved or empty; UserClaimed decides nothing.
type Request struct {
	ID, TraceID, SpanID, ParentSpanID, UserID, UserClaimed, ClientRequestID string
}

type requestKey struct{}

// From returns the request being served, or nil.
func From(ctx context.Context) *Request {
	request, _ := ctx.Value(requestKey{}).(*Request)
	return request
}

// Writer writes lines to Out, each with one Write. Keys are the identity keys by id; without one no user is proved.
type Writer struct {
	Out                             io.Writer
	Service, Version, Env, Instance string
	Keys                            map[string][]byte
	Now                             func() time.Time

	mutex sync.Mutex
}

// line has `ts` first because encoding/json keeps the order of fields; files of lines are bisected by it.
type line struct {
	TS              float64 `json:"ts"`
	V               int     `json:"v"`
	Type            string  `json:"type"`
	Service         string  `json:"service"`
	Version         string  `json:"version,omitempty"`
	Env             string  `json:"env,omitempty"`
	Instance        string  `json:"instance,omitempty"`
	RequestID       string  `json:"requestId"`
	TraceID         string  `json:"traceId"`
	SpanID          string  `json:"spanId"`
	ParentSpanID    string  `json:"parentSpanId,omitempty"`
	ClientRequestID string  `json:"clientRequestId,omitempty"`
	UserID          string  `json:"userId,omitempty"`
	UserClaimed     string  `json:"userClaimed,omitempty"`
	RPC             string  `json:"rpc"`
	Status          string  `json:"status"`
	Outcome         string  `json:"outcome"`
	LatencyMs       float64 `json:"latencyMs"`
}

// Unary is a grpc.UnaryServerInterceptor.
func (w *Writer) Unary(
	ctx context.Context, in any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (out any, err error) {
	request := w.open(ctx)
	started := w.now()
	defer func() { w.finish(request, info.FullMethod, started, err, recover()) }()
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-request-id", request.ID))
	return handler(context.WithValue(ctx, requestKey{}, request), in)
}

// Stream is a grpc.StreamServerInterceptor.
func (w *Writer) Stream(
	server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) (err error) {
	request := w.open(stream.Context())
	started := w.now()
	defer func() { w.finish(request, info.FullMethod, started, err, recover()) }()
	stream.SetTrailer(metadata.Pairs("x-request-id", request.ID))
	ctx := context.WithValue(stream.Context(), requestKey{}, request)
	return handler(server, &withContext{stream, ctx})
}

type withContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *withContext) Context() context.Context { return s.ctx }

// open believes ids and user only with a valid proof; without one the id is minted and the user is claimed.
func (w *Writer) open(ctx context.Context) *Request {
	incoming, _ := metadata.FromIncomingContext(ctx)
	get := func(name string) string {
		if values := incoming.Get(name); len(values) == 1 {
			return values[0]
		}
		return ""
	}
	given := get("x-request-id")
	if !validID.MatchString(given) {
		given = ""
	}
	user, err := url.PathUnescape(get("x-user-id"))
	if err != nil || len([]rune(user)) > 128 {
		user = ""
	}
	request := &Request{SpanID: newSpanID()}
	if given != "" && w.Proved(get("x-identity-proof"), given, user) {
		request.ID, request.UserID = given, user
		if found := traceparent.FindStringSubmatch(get("traceparent")); found != nil {
			request.TraceID, request.ParentSpanID = found[1], found[2]
		}
	} else {
		request.ID, request.ClientRequestID, request.UserClaimed = newRequestID(w.now()), given, user
	}
	if request.TraceID == "" && hexID.MatchString(request.ID) {
		request.TraceID = request.ID
	} else if request.TraceID == "" {
		request.TraceID = newRequestID(w.now())
	}
	return request
}

// Proved reports whether proof was made by a tier with our keys, for this service and user, a minute ago at most. One of
// version 1 is about the request as well.
func (w *Writer) Proved(proof, requestID, user string) bool {
	found := proofForm.FindStringSubmatch(proof)
	if found == nil {
		return false
	}
	key, known := w.Keys[found[2]]
	expiry, err := strconv.ParseInt(found[3], 16, 64)
	if !known || err != nil {
		return false
	}
	remaining := time.Unix(expiry, 0).Sub(w.now())
	if remaining < -clockSkew || remaining > lifetime+clockSkew {
		return false
	}
	about := []string{w.Service, user, found[3]}
	if found[1] == "1" {
		about = []string{w.Service, requestID, user, found[3]}
	}
	return hmac.Equal([]byte(mac(key, domains[found[1]], about...)), []byte(found[4]))
}

func mac(key []byte, of string, about ...string) string {
	subkey := hmac.New(sha256.New, key)
	subkey.Write([]byte(domain))
	hash := hmac.New(sha256.New, subkey.Sum(nil))
	for _, part := range append([]string{of}, about...) {
		var size [4]byte
		binary.BigEndian.PutUint32(size[:], uint32(len(part)))
		hash.Write(size[:])
		hash.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil))
}

func (w *Writer) finish(request *Request, method string, started time.Time, err error, panicked any) {
	code := status.Code(err)
	switch {
	case panicked != nil:
		code = codes.Internal
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	now := w.now()
	data, _ := json.Marshal(line{
		TS: float64(now.UnixMicro()) / 1e6, V: 1, Type: "rpc",
		Service: w.Service, Version: w.Version, Env: w.Env, Instance: w.Instance,
		RequestID: request.ID, TraceID: request.TraceID, SpanID: request.SpanID, ParentSpanID: request.ParentSpanID,
		ClientRequestID: request.ClientRequestID, UserID: request.UserID, UserClaimed: request.UserClaimed,
		RPC: strings.TrimPrefix(method, "/"), Status: statusName(code), Outcome: outcome(code),
		LatencyMs: float64(now.Sub(started).Microseconds()) / 1e3,
	})
	if len(data) < maxLine {
		w.mutex.Lock()
		_, _ = w.Out.Write(append(data, '\n'))
		w.mutex.Unlock()
	}
	if panicked != nil {
		panic(panicked)
	}
}

func (w *Writer) now() time.Time {
	if w.Now != nil {
		return w.Now()
	}
	return time.Now()
}

// statusName is the name of a status on the wire: Go prints codes.NotFound as NotFound, the schema says NOT_FOUND.
func statusName(code codes.Code) string {
	names := [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	if int(code) < len(names) {
		return names[code]
	}
	return "UNKNOWN"
}

func outcome(code codes.Code) string {
	switch code {
	case codes.OK:
		return "ok"
	case codes.Canceled:
		return "client_gone"
	case codes.DeadlineExceeded:
		return "timeout"
	case codes.Unknown, codes.Internal, codes.Unavailable, codes.DataLoss, codes.Unimplemented:
		return "server_error"
	default:
		return "client_error"
	}
}

// newRequestID is 32 hex digits in UUIDv7 layout: the time in front makes lines findable by bisection.
func newRequestID(now time.Time) string {
	var id [16]byte
	_, _ = rand.Read(id[6:])
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(now.UnixMilli()))
	copy(id[:6], at[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id[:])
}

// newSpanID ends in 0000: an outgoing call has the same first 12 digits and its number.
func newSpanID() string {
	var id [6]byte
	_, _ = rand.Read(id[:])
	return fmt.Sprintf("%x0000", id)
}
