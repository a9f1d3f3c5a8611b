package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"

	"github.com/seqstep/seqstep/clients/go/seqstep"
)

type server struct {
	engagementv1.UnimplementedSequenceStepServiceServer
	response *engagementv1.UpdateStepResponse
	err      error
}

func (s server) UpdateStep(
	context.Context, *engagementv1.UpdateStepRequest,
) (*engagementv1.UpdateStepResponse, error) {
	return s.response, s.err
}

func failed(outcome engagementv1.ErrorOutcome) *engagementv1.UpdateStepResponse {
	return &engagementv1.UpdateStepResponse{
		Changes: []*engagementv1.FieldChange{{Field: "template.subject"}},
		Errors:  []*engagementv1.Error{{Meta: &engagementv1.ErrorMeta{Outcome: outcome}}},
	}
}

func TestExitStatus(t *testing.T) {
	arguments := []string{"-plaintext", "acme", "outreach", "7", "101", "Hello"}
	for name, each := range map[string]struct {
		served server
		want   int
	}{
		"applied":     {server{response: &engagementv1.UpdateStepResponse{}}, 0},
		"not applied": {server{response: failed(engagementv1.ErrorOutcome_ERROR_OUTCOME_NOT_APPLIED)}, 1},
		"unknown":     {server{response: failed(engagementv1.ErrorOutcome_ERROR_OUTCOME_UNKNOWN)}, 3},
		"in part":     {server{response: failed(engagementv1.ErrorOutcome_ERROR_OUTCOME_PARTIALLY_APPLIED)}, 4},
		"no envelope": {server{err: status.Error(codes.Internal, "broken")}, 3},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		running := grpc.NewServer()
		engagementv1.RegisterSequenceStepServiceServer(running, each.served)
		go func() { _ = running.Serve(listener) }()
		t.Cleanup(running.Stop)
		environment := map[string]string{"SEQSTEP_ADDRESS": listener.Addr().String(), "SEQSTEP_API_KEY": "key"}
		getenv := func(name string) string { return environment[name] }
		var out bytes.Buffer
		if got := run(t.Context(), arguments, getenv, &out, io.Discard); got != each.want {
			t.Errorf("%s ends with %d, want %d", name, got, each.want)
		}
		if said := out.String(); each.want == 4 && said != "Changed template.subject.\n" {
			t.Errorf("%s says %q", name, said)
		}
	}
}

func TestWrongUsageIsTwo(t *testing.T) {
	elsewhere := func(name string) string {
		return map[string]string{"SEQSTEP_ADDRESS": "seqstep.example.com:443", "SEQSTEP_CA": "/nowhere/ca.pem"}[name]
	}
	for name, arguments := range map[string][]string{
		"no arguments":        {},
		"unknown flag":        {"-nonsense", "acme", "outreach", "7", "101", "Hello"},
		"unreadable CA":       {"acme", "outreach", "7", "101", "Hello"},
		"plaintext elsewhere": {"-plaintext", "acme", "outreach", "7", "101", "Hello"},
	} {
		if got := run(t.Context(), arguments, elsewhere, io.Discard, io.Discard); got != 2 {
			t.Errorf("%s ends with %d", name, got)
		}
	}
}

func TestOutcomeThatNobodyKnowsIsNoSuccess(t *testing.T) {
	if exitStatus(seqstep.Outcome(99)) != 3 {
		t.Fatal("a new outcome reads as another")
	}
}
