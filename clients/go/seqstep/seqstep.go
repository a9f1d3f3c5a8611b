// Package seqstep calls the services of engagement.v1: a connection with TLS, retries, keepalive and health checks, the
// metadata of a call, and errors that say what became of the step.
//
//	conn, err := seqstep.NewConn("seqstep.example.com:443", seqstep.WithAPIKey(key))
//	…
//	steps := engagementv1.NewSequenceStepServiceClient(conn)
//	response, err := steps.UpdateStep(seqstep.For(ctx, "acme", "outreach"), request)
//
// Through such a connection a generated client returns an [*Error] whenever a call did not do what it was asked for, also
// where the service answers with status OK and says so in the response.
package seqstep

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // Checks the health of servers, as the service config asks.
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// Version is that of this module.
const Version = "0.1.0"

// DefaultTimeout bounds calls whose context has no deadline. It is the service's own default; its longest is 60 s.
const DefaultTimeout = 30 * time.Second

// Every method may be repeated: updates set absolute values. CANCELLED is how a call ends that was on its way to a replica
// when that replica said that it stops.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "engagement.v1.SequenceStepService"},
  "methodConfig": [{
    "name": [{"service": "engagement.v1.SequenceStepService"}, {"service": "engagement.v1.ConnectionService"}],
    "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
    }
  }],
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1}
}`

// A body may have 5 MiB. A request that does not fit into this buffer would not be repeated.
const retryBufferBytes = 8 << 20

// NewConn makes a connection to HOST:PORT. It has TLS and trusts the authorities of the system unless options say otherwise.
// Nothing is sent before the first call. Close ends it.
func NewConn(target string, options ...Option) (*grpc.ClientConn, error) {
	var chosen settings
	for _, option := range options {
		option(&chosen)
	}
	transport, err := chosen.transport(target)
	if err != nil {
		return nil, fmt.Errorf("seqstep: %w", err)
	}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxRetryRPCBufferSize(retryBufferBytes)),
		// The server allows one ping every ten seconds.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// A server that was restarted is found again within the time that the retries take.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithUserAgent("seqstep-go/" + Version),
		grpc.WithChainUnaryInterceptor(typedErrors),
	}
	if chosen.plaintext {
		dial = append(dial, grpc.WithNoProxy())
	}
	if chosen.apiKey != "" {
		dial = append(dial, grpc.WithPerRPCCredentials(apiKey{chosen.apiKey, chosen.plaintext}))
	}
	return grpc.NewClient(target, append(dial, chosen.dial...)...)
}

// Option changes how [NewConn] makes a connection.
type Option func(*settings)

type settings struct {
	apiKey                                 string
	caFile, certificateFile, keyFile       string
	trusted, mutual, plaintext, everywhere bool
	dial                                   []grpc.DialOption
}

// WithAPIKey sends the key of the application with every call that does not bring an x-api-key of its own.
func WithAPIKey(key string) Option { return func(s *settings) { s.apiKey = key } }

// WithCA trusts the authorities in a PEM file, in the place of those of the system.
func WithCA(file string) Option { return func(s *settings) { s.caFile, s.trusted = file, true } }

// WithClientCertificate shows a certificate, for a service that asks for one. Both are PEM files.
func WithClientCertificate(certificateFile, keyFile string) Option {
	return func(s *settings) { s.certificateFile, s.keyFile, s.mutual = certificateFile, keyFile, true }
}

// WithPlaintext does without TLS, to a service on this machine: 127.0.0.1, ::1, localhost, a Unix socket.
func WithPlaintext() Option { return func(s *settings) { s.plaintext = true } }

// WithPlaintextBeyondThisMachine does without TLS to any host. Whoever sees the network sees the API key.
func WithPlaintextBeyondThisMachine() Option {
	return func(s *settings) { s.plaintext, s.everywhere = true, true }
}

// WithDialOptions is the place for tracing, such as grpc.WithStatsHandler of OpenTelemetry or interceptors of your own.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

func (s settings) transport(target string) (credentials.TransportCredentials, error) {
	if s.plaintext {
		if s.trusted || s.mutual {
			return nil, errors.New("plaintext has no use for certificates")
		}
		if !s.everywhere && !onThisMachine(target) {
			return nil, fmt.Errorf("%s is not on this machine, and plaintext would show the API key on the way", target)
		}
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.trusted {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", s.caFile)
		}
	}
	if s.mutual {
		pair, err := tls.LoadX509KeyPair(s.certificateFile, s.keyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

func onThisMachine(target string) bool {
	if strings.HasPrefix(target, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// apiKey is what a call is authenticated by.
type apiKey struct {
	key       string
	plaintext bool
}

func (k apiKey) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if sent, _ := metadata.FromOutgoingContext(ctx); len(sent.Get("x-api-key")) > 0 {
		return nil, nil
	}
	return map[string]string{"x-api-key": k.key}, nil
}

func (k apiKey) RequireTransportSecurity() bool { return !k.plaintext }

// For says whose customer a call is for, and at which provider.
func For(ctx context.Context, customer, provider string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-customer-id", customer, "x-provider-name", provider)
}

// WithRequestID gives a call an id of your own, by which it is found in the service's log.
func WithRequestID(ctx context.Context, id string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", id)
}
