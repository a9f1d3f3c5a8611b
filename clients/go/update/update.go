// Package update calls SequenceStepService.UpdateStep: a channel, metadata and a deadline, the
// call, the envelope wherever it comes, and what became of the step.
package update

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"
)

// Updates set absolute values, so any call may be repeated. CANCELLED is how a call ends that was on its way to a replica
// when that replica said that it stops.
const serviceConfig = `{"methodConfig": [{
  "name": [{"service": "engagement.v1.SequenceStepService"}],
  "retryPolicy": {
    "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
  }
}]}`

// Dial opens a channel: with TLS that trusts the authorities in a PEM file, or in plaintext if there is none.
func Dial(target, caFile string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", caFile)
		}
		transport = credentials.NewClientTLSFromCert(authorities, "")
	}
	return grpc.NewClient(target, append(options, grpc.WithTransportCredentials(transport))...)
}

// WithRetries repeats calls whose replica went away.
func WithRetries() grpc.DialOption { return grpc.WithDefaultServiceConfig(serviceConfig) }

// For adds to a context whose customer a call is for, at which provider, and who calls.
func For(ctx context.Context, customer, provider, apiKey string) context.Context {
	return metadata.AppendToOutgoingContext(
		ctx, "x-customer-id", customer, "x-provider-name", provider, "x-api-key", apiKey)
}

// Envelope finds the envelope of a call: the response itself, or the one in the details of a status other than OK. It is
// nil if the service did not say anything, because the connection broke or the deadline came first.
func Envelope(response *engagementv1.UpdateStepResponse, err error) *engagementv1.UpdateStepResponse {
	if err == nil {
		return response
	}
	for _, detail := range status.Convert(err).Details() {
		if envelope, ok := detail.(*engagementv1.UpdateStepResponse); ok {
			return envelope
		}
	}
	return nil
}

// Outcome is what a call did to the step.
type Outcome int

const (
	// Applied: the step is as asked for.
	Applied Outcome = iota
	// NotApplied: nothing was changed.
	NotApplied
	// Unknown: it may have been changed; repeating the call is safe and settles it.
	Unknown
	// PartiallyApplied: what `changes` lists was changed; once the error is dealt with, repeating the call does the rest.
	PartiallyApplied
)

// OutcomeOf tells what a call did to the step.
func OutcomeOf(response *engagementv1.UpdateStepResponse, err error) Outcome {
	envelope := Envelope(response, err)
	if envelope == nil {
		return Unknown
	}
	if len(envelope.GetErrors()) == 0 {
		return Applied
	}
	switch envelope.GetErrors()[0].GetMeta().GetOutcome() {
	case engagementv1.ErrorOutcome_ERROR_OUTCOME_NOT_APPLIED:
		return NotApplied
	case engagementv1.ErrorOutcome_ERROR_OUTCOME_PARTIALLY_APPLIED:
		return PartiallyApplied
	default:
		return Unknown
	}
}
