package seqstep_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"

	"github.com/seqstep/seqstep/clients/go/seqstep"
)

// server answers attempts as a test says, and keeps the metadata of each.
type server struct {
	engagementv1.UnimplementedSequenceStepServiceServer
	healthv1.UnimplementedHealthServer
	answer func(ctx context.Context, attempt int) (*engagementv1.UpdateStepResponse, error)
	health chan healthv1.HealthCheckResponse_ServingStatus

	mutex    sync.Mutex
	attempts []metadata.MD
}

func (s *server) UpdateStep(
	ctx context.Context, _ *engagementv1.UpdateStepRequest,
) (*engagementv1.UpdateStepResponse, error) {
	sent, _ := metadata.FromIncomingContext(ctx)
	s.mutex.Lock()
	s.attempts = append(s.attempts, sent)
	attempt := len(s.attempts)
	s.mutex.Unlock()
	return s.answer(ctx, attempt)
}

// Watch says SERVING, and then what comes. The module's own health server would bring the checks that a client has to ask for.
func (s *server) Watch(asked *healthv1.HealthCheckRequest, stream healthv1.Health_WatchServer) error {
	if asked.Service != "engagement.v1.SequenceStepService" {
		return status.Error(codes.InvalidArgument, asked.Service)
	}
	now := healthv1.HealthCheckResponse_SERVING
	for {
		if err := stream.Send(&healthv1.HealthCheckResponse{Status: now}); err != nil {
			return err
		}
		select {
		case now = <-s.health:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// says tells the client that watches.
func (s *server) says(t *testing.T, status healthv1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	select {
	case s.health <- status:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody watches the health of the server")
	}
}

func (s *server) seen() []metadata.MD {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.attempts
}

type answer = func(ctx context.Context, attempt int) (*engagementv1.UpdateStepResponse, error)

func applied(context.Context, int) (*engagementv1.UpdateStepResponse, error) {
	return &engagementv1.UpdateStepResponse{}, nil
}

// unavailableUntil fails all attempts before one.
func unavailableUntil(attempt int) answer {
	return func(ctx context.Context, number int) (*engagementv1.UpdateStepResponse, error) {
		if number < attempt {
			return nil, status.Error(codes.Unavailable, "away")
		}
		return applied(ctx, number)
	}
}

// serve runs a server on a port of this machine.
func serve(t *testing.T, answer answer, options ...grpc.ServerOption) (*server, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(8<<20))...)
	served := &server{answer: answer, health: make(chan healthv1.HealthCheckResponse_ServingStatus)}
	engagementv1.RegisterSequenceStepServiceServer(running, served)
	healthv1.RegisterHealthServer(running, served)
	go func() { _ = running.Serve(listener) }()
	t.Cleanup(running.Stop)
	return served, listener.Addr().String()
}

func connect(t *testing.T, target string, options ...seqstep.Option) engagementv1.SequenceStepServiceClient {
	t.Helper()
	conn, err := seqstep.NewConn(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return engagementv1.NewSequenceStepServiceClient(conn)
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return seqstep.For(ctx, "acme", "outreach")
}

func change(bytes int) *engagementv1.UpdateStepRequest {
	body := strings.Repeat("x", bytes)
	return &engagementv1.UpdateStepRequest{
		Record: &engagementv1.SequenceStepRecord{Template: &engagementv1.StepTemplate{Body: &body}},
	}
}

func TestBodiesOfAnyAllowedLengthAreSentAgain(t *testing.T) {
	for _, bytes := range []int{1 << 10, 300 << 10, 5 << 20} {
		served, target := serve(t, unavailableUntil(3))
		_, err := connect(t, target, seqstep.WithPlaintext()).UpdateStep(within(t, 30*time.Second), change(bytes))
		if err != nil {
			t.Fatalf("%d bytes: %v", bytes, err)
		}
		if seen := served.seen(); len(seen) != 3 || seen[2].Get("grpc-previous-rpc-attempts")[0] != "2" {
			t.Fatalf("%d bytes: %v", bytes, seen)
		}
	}
}

func TestFourAttemptsAreTheMost(t *testing.T) {
	served, target := serve(t, unavailableUntil(100))
	_, err := connect(t, target, seqstep.WithPlaintext()).UpdateStep(within(t, 30*time.Second), change(1))
	if status.Code(err) != codes.Unavailable || !errors.Is(err, seqstep.ErrUnknown) || len(served.seen()) != 4 {
		t.Fatal(err, len(served.seen()))
	}
}

func TestAllAttemptsShareOneDeadline(t *testing.T) {
	served, target := serve(t, func(ctx context.Context, attempt int) (*engagementv1.UpdateStepResponse, error) {
		if attempt > 1 {
			<-ctx.Done()
		}
		return nil, status.Error(codes.Unavailable, "away")
	})
	started := time.Now()
	_, err := connect(t, target, seqstep.WithPlaintext()).UpdateStep(within(t, time.Second), change(1))
	if !errors.Is(err, context.DeadlineExceeded) || seqstep.OutcomeOf(err) != seqstep.Unknown {
		t.Fatal(err)
	}
	if took := time.Since(started); took > 3*time.Second || len(served.seen()) != 2 {
		t.Fatal(took, len(served.seen()))
	}
}

func TestServerThatPushesBackIsNotAskedAgain(t *testing.T) {
	served, target := serve(t, func(ctx context.Context, _ int) (*engagementv1.UpdateStepResponse, error) {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1"))
		return nil, status.Error(codes.Unavailable, "away")
	})
	_, err := connect(t, target, seqstep.WithPlaintext()).UpdateStep(within(t, 10*time.Second), change(1))
	if status.Code(err) != codes.Unavailable || len(served.seen()) != 1 {
		t.Fatal(err, len(served.seen()))
	}
}

func TestCallThatItsCallerEndsIsNotSentAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t, 30*time.Second))
	served, target := serve(t, func(ctx context.Context, _ int) (*engagementv1.UpdateStepResponse, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	_, err := connect(t, target, seqstep.WithPlaintext()).UpdateStep(ctx, change(1))
	if !errors.Is(err, context.Canceled) || seqstep.OutcomeOf(err) != seqstep.Unknown || len(served.seen()) != 1 {
		t.Fatal(err, len(served.seen()))
	}
}

func TestCallWithoutDeadlineGetsOne(t *testing.T) {
	left := make(chan time.Duration, 1)
	_, target := serve(t, func(ctx context.Context, attempt int) (*engagementv1.UpdateStepResponse, error) {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return applied(ctx, attempt)
	})
	if _, err := connect(t, target, seqstep.WithPlaintext()).UpdateStep(context.Background(), change(1)); err != nil {
		t.Fatal(err)
	}
	if seconds := <-left; seconds <= 0 || seconds > seqstep.DefaultTimeout {
		t.Fatal(seconds)
	}
}

func TestOnlyServersThatServeTakeTurns(t *testing.T) {
	var servers [2]*server
	var state resolver.State
	for i := range servers {
		var target string
		servers[i], target = serve(t, applied)
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: target}}})
	}
	replicas := manual.NewBuilderWithScheme("replicas")
	replicas.InitialState(state)
	client := connect(t, "replicas:///all", seqstep.WithPlaintextBeyondThisMachine(),
		seqstep.WithDialOptions(grpc.WithResolvers(replicas)))
	// share says how many of the next ten calls each server gets.
	share := func() (shares [2]int) {
		before := [2]int{len(servers[0].seen()), len(servers[1].seen())}
		for range 10 {
			if _, err := client.UpdateStep(within(t, 10*time.Second), change(1)); err != nil {
				t.Fatal(err)
			}
		}
		return [2]int{len(servers[0].seen()) - before[0], len(servers[1].seen()) - before[1]}
	}
	until := func(expected [2]int) {
		t.Helper()
		limit := time.Now().Add(10 * time.Second)
		for shares := share(); shares != expected; shares = share() {
			if time.Now().After(limit) {
				t.Fatalf("%v is not %v", shares, expected)
			}
		}
	}
	until([2]int{5, 5})
	servers[0].says(t, healthv1.HealthCheckResponse_NOT_SERVING)
	until([2]int{0, 10})
	servers[0].says(t, healthv1.HealthCheckResponse_SERVING)
	until([2]int{5, 5})
}

func TestErrorInResponseIsTyped(t *testing.T) {
	_, target := serve(t, func(context.Context, int) (*engagementv1.UpdateStepResponse, error) {
		return &engagementv1.UpdateStepResponse{Errors: []*engagementv1.Error{{
			Code: "NOT_FOUND_ERROR",
			Meta: &engagementv1.ErrorMeta{Outcome: engagementv1.ErrorOutcome_ERROR_OUTCOME_NOT_APPLIED},
		}}}, nil
	})
	_, err := connect(t, target, seqstep.WithPlaintext()).UpdateStep(within(t, 10*time.Second), change(1))
	var failure *seqstep.Error
	if !errors.As(err, &failure) || failure.Errors()[0].GetCode() != "NOT_FOUND_ERROR" {
		t.Fatal(err)
	}
	if !errors.Is(err, seqstep.ErrNotApplied) || status.Code(err) != codes.Unknown || failure.Status.Code() != codes.OK {
		t.Fatal(err)
	}
}

func TestMetadataOfCall(t *testing.T) {
	served, target := serve(t, applied)
	steps := connect(t, target, seqstep.WithPlaintext(), seqstep.WithAPIKey("secret"))
	if _, err := steps.UpdateStep(seqstep.WithRequestID(within(t, 10*time.Second), "r-1"), change(1)); err != nil {
		t.Fatal(err)
	}
	own := metadata.AppendToOutgoingContext(within(t, 10*time.Second), "x-api-key", "own")
	if _, err := steps.UpdateStep(own, change(1)); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"x-customer-id": "acme", "x-provider-name": "outreach", "x-request-id": "r-1", "x-api-key": "secret",
	} {
		if got := served.seen()[0].Get(key); len(got) != 1 || got[0] != value {
			t.Errorf("%s is %q", key, got)
		}
	}
	if got := served.seen()[0].Get("user-agent"); !strings.HasPrefix(got[0], "seqstep-go/"+seqstep.Version) {
		t.Error(got)
	}
	if got := served.seen()[1].Get("x-api-key"); len(got) != 1 || got[0] != "own" {
		t.Error(got)
	}
}

func TestNothingLeadsToPlaintextByAccident(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]seqstep.Option{
		"no such file":            {seqstep.WithCA("/nowhere/ca.pem")},
		"no name":                 {seqstep.WithCA("")},
		"no certificate":          {seqstep.WithCA(empty)},
		"no client certificate":   {seqstep.WithClientCertificate("/nowhere/tls.crt", "/nowhere/tls.key")},
		"plaintext elsewhere":     {seqstep.WithPlaintext()},
		"plaintext and authority": {seqstep.WithPlaintext(), seqstep.WithCA(empty)},
	} {
		if conn, err := seqstep.NewConn("seqstep.example.com:443", options...); err == nil {
			_ = conn.Close()
			t.Errorf("%s is taken", name)
		}
	}
	for _, target := range []string{"localhost:1", "127.0.0.2:1", "[::1]:1", "unix:/tmp/seqstep.sock"} {
		connect(t, target, seqstep.WithPlaintext())
	}
	connect(t, "seqstep.example.com:80", seqstep.WithPlaintextBeyondThisMachine())

	served, target := serve(t, applied)
	_, err := connect(t, target, seqstep.WithAPIKey("secret")).UpdateStep(within(t, time.Second), change(1))
	if !errors.Is(err, seqstep.ErrUnknown) || len(served.seen()) != 0 {
		t.Fatal("without options the channel has no TLS")
	}
}

func TestMutualTLS(t *testing.T) {
	files := certificates(t)
	pair, err := tls.LoadX509KeyPair(files.certificate, files.key)
	if err != nil {
		t.Fatal(err)
	}
	served, target := serve(t, applied, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: files.authorities,
	})))
	trusting := seqstep.WithCA(files.certificate)
	known := connect(t, target, trusting, seqstep.WithClientCertificate(files.certificate, files.key), seqstep.WithAPIKey("k"))
	if _, err := known.UpdateStep(within(t, 10*time.Second), change(1)); err != nil {
		t.Fatal(err)
	}
	if got := served.seen()[0].Get("x-api-key"); len(got) != 1 {
		t.Fatal(got)
	}
	for name, other := range map[string]engagementv1.SequenceStepServiceClient{
		"unknown client": connect(t, target, trusting), "unknown authority": connect(t, target),
	} {
		if _, err := other.UpdateStep(within(t, time.Second), change(1)); !errors.Is(err, seqstep.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(served.seen()) != 1 {
		t.Fatal("a call went through")
	}
}

type pemFiles struct {
	certificate, key string
	authorities      *x509.CertPool
}

// certificates makes a certificate for this machine that vouches for itself.
func certificates(t *testing.T) pemFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	files := pemFiles{filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"), x509.NewCertPool()}
	for path, block := range map[string]*pem.Block{
		files.certificate: {Type: "CERTIFICATE", Bytes: der}, files.key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	files.authorities.AddCert(certificate)
	return files
}
