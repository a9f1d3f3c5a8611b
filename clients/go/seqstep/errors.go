package seqstep

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"
)

// Outcome is what a call did to the step.
type Outcome int

const (
	// Unknown: it may have been changed; repeating the call is safe and settles it.
	Unknown Outcome = iota
	// Applied: the step is as asked for.
	Applied
	// NotApplied: nothing was changed.
	NotApplied
	// PartiallyApplied: what `changes` lists was changed; once the error is dealt with, repeating the call does the rest.
	PartiallyApplied
)

func (o Outcome) String() string {
	switch o {
	case Applied:
		return "APPLIED"
	case NotApplied:
		return "NOT_APPLIED"
	case PartiallyApplied:
		return "PARTIALLY_APPLIED"
	default:
		return "UNKNOWN"
	}
}

// What errors.Is finds in an [*Error], by its outcome.
var (
	ErrUnknown          = errors.New("it is not known what became of the step")
	ErrNotApplied       = errors.New("the step was not changed")
	ErrPartiallyApplied = errors.New("the step was changed in part")
)

// Envelope is a response that says itself why a call failed: of UpdateStep, GetStep and ListSteps, and of CheckConnection.
type Envelope interface {
	proto.Message
	GetErrors() []*engagementv1.Error
}

// Error is why a call did not do what it was asked for.
type Error struct {
	// Outcome is what became of the step.
	Outcome Outcome
	// Status is how the call ended: OK where the response itself has errors.
	Status *status.Status
	// Response is the response of the call's method, from the details of the status where that is not OK. It is nil where the
	// service did not send one, as when the connection broke or the deadline came first.
	Response Envelope
}

// Error says it in one line.
func (e *Error) Error() string {
	if faults := e.Errors(); len(faults) > 0 {
		return fmt.Sprintf("%v: %s: %s", e.sentinel(), faults[0].GetCode(), faults[0].GetDetail())
	}
	return fmt.Sprintf("%v: %s: %s", e.sentinel(), e.Status.Code(), e.Status.Message())
}

// Errors is what the service says about it; empty where it did not say anything.
func (e *Error) Errors() []*engagementv1.Error {
	if e.Response == nil {
		return nil
	}
	return e.Response.GetErrors()
}

// GRPCStatus lets status.Code and status.Convert work. An error in a response that ended with OK has no code of gRPC and is
// Unknown to them.
func (e *Error) GRPCStatus() *status.Status {
	if e.Status.Code() == codes.OK {
		return status.New(codes.Unknown, e.Error())
	}
	return e.Status
}

// Is lets errors.Is tell the outcomes apart, and find the end of a context.
func (e *Error) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded:
		return e.Status.Code() == codes.DeadlineExceeded
	case context.Canceled:
		return e.Status.Code() == codes.Canceled
	default:
		return target == e.sentinel()
	}
}

func (e *Error) sentinel() error {
	switch e.Outcome {
	case NotApplied:
		return ErrNotApplied
	case PartiallyApplied:
		return ErrPartiallyApplied
	default:
		return ErrUnknown
	}
}

// OutcomeOf tells what a call did to the step, by the error that it returned.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Applied
	}
	var failure *Error
	if errors.As(err, &failure) && failure.Outcome != Applied {
		return failure.Outcome
	}
	return Unknown
}

// typedErrors makes an [*Error] of whatever a call fails by, and bounds calls without a deadline.
func typedErrors(
	ctx context.Context, method string, request, response any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	return failureOf(response, invoke(ctx, method, request, response, conn, options...))
}

// failureOf returns nil for a call that did what it was asked for.
func failureOf(response any, err error) error {
	envelope, speaks := response.(Envelope)
	if err == nil {
		if !speaks || len(envelope.GetErrors()) == 0 {
			return nil
		}
		return &Error{outcomeOf(envelope.GetErrors()), status.New(codes.OK, ""), envelope}
	}
	failure := &Error{Unknown, status.Convert(err), nil}
	if !speaks {
		return failure
	}
	for _, detail := range failure.Status.Details() {
		found, ok := detail.(Envelope)
		if ok && found.ProtoReflect().Descriptor() == envelope.ProtoReflect().Descriptor() {
			failure.Response = found
			failure.Outcome = outcomeOf(found.GetErrors())
			break
		}
	}
	return failure
}

// outcomeOf goes by the error that leaves most open. Without errors nothing is known of a failure.
func outcomeOf(faults []*engagementv1.Error) Outcome {
	if len(faults) == 0 {
		return Unknown
	}
	outcome := NotApplied
	for _, fault := range faults {
		switch fault.GetMeta().GetOutcome() {
		case engagementv1.ErrorOutcome_ERROR_OUTCOME_NOT_APPLIED:
		case engagementv1.ErrorOutcome_ERROR_OUTCOME_PARTIALLY_APPLIED:
			outcome = PartiallyApplied
		default:
			return Unknown
		}
	}
	return outcome
}
