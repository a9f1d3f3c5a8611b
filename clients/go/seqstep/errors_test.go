package seqstep

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/anypb"

	spb "google.golang.org/genproto/googleapis/rpc/status"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"
)

const (
	notApplied = engagementv1.ErrorOutcome_ERROR_OUTCOME_NOT_APPLIED
	partially  = engagementv1.ErrorOutcome_ERROR_OUTCOME_PARTIALLY_APPLIED
	unknown    = engagementv1.ErrorOutcome_ERROR_OUTCOME_UNKNOWN
)

func faults(outcomes ...engagementv1.ErrorOutcome) []*engagementv1.Error {
	var all []*engagementv1.Error
	for _, outcome := range outcomes {
		all = append(all, &engagementv1.Error{Meta: &engagementv1.ErrorMeta{Outcome: outcome}})
	}
	return all
}

func update(outcomes ...engagementv1.ErrorOutcome) *engagementv1.UpdateStepResponse {
	return &engagementv1.UpdateStepResponse{Errors: faults(outcomes...)}
}

func ended(details ...proto.Message) error {
	end := status.New(codes.Aborted, "no")
	for _, detail := range details {
		with, err := end.WithDetails(protoadapt.MessageV1Of(detail))
		if err != nil {
			panic(err)
		}
		end = with
	}
	return end.Err()
}

func TestOutcome(t *testing.T) {
	malformed := status.FromProto(&spb.Status{Code: int32(codes.Aborted), Details: []*anypb.Any{{
		TypeUrl: "type.googleapis.com/engagement.v1.UpdateStepResponse", Value: []byte{0xff},
	}}}).Err()
	for name, each := range map[string]struct {
		response *engagementv1.UpdateStepResponse
		err      error
		want     Outcome
	}{
		"no error":                    {update(), nil, Applied},
		"not applied":                 {update(notApplied), nil, NotApplied},
		"in part":                     {update(notApplied, partially), nil, PartiallyApplied},
		"unknown prevails":            {update(notApplied, partially, unknown), nil, Unknown},
		"unknown comes first":         {update(unknown, partially), nil, Unknown},
		"unspecified":                 {update(notApplied, 0), nil, Unknown},
		"of a later version":          {update(notApplied, 99), nil, Unknown},
		"without meta":                {&engagementv1.UpdateStepResponse{Errors: []*engagementv1.Error{{}}}, nil, Unknown},
		"in details":                  {update(), ended(update(notApplied)), NotApplied},
		"after other details":         {update(), ended(&engagementv1.Warning{}, update(partially)), PartiallyApplied},
		"no details":                  {update(), ended(), Unknown},
		"details without errors":      {update(), ended(update()), Unknown},
		"details of another response": {update(), ended(&engagementv1.GetStepResponse{Errors: faults(notApplied)}), Unknown},
		"malformed details":           {update(), malformed, Unknown},
		"not of gRPC":                 {update(), errors.New("broken"), Unknown},
	} {
		if got := OutcomeOf(failureOf(each.response, each.err)); got != each.want {
			t.Errorf("%s is %v, want %v", name, got, each.want)
		}
	}
}

func TestWhatIsNotSaidIsUnknown(t *testing.T) {
	var outcome Outcome
	if outcome != Unknown || OutcomeOf(&Error{}) != Unknown || OutcomeOf(&Error{Outcome: Applied}) != Unknown {
		t.Fatal("a zero value says more than is known")
	}
}

func TestReadsFailByTheSameType(t *testing.T) {
	reply := &engagementv1.GetStepResponse{Errors: faults(notApplied)}
	var failure *Error
	if err := failureOf(reply, nil); !errors.As(err, &failure) || failure.Response.(*engagementv1.GetStepResponse) != reply {
		t.Fatal(err)
	}
	if err := failureOf(&engagementv1.GetConnectionResponse{}, ended()); status.Code(err) != codes.Aborted {
		t.Fatal(err)
	}
}
