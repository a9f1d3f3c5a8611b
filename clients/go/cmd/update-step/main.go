// Command update-step changes the subject of a step and tells what became of it:
//
//	SEQSTEP_API_KEY=… update-step CUSTOMER PROVIDER SEQUENCE STEP SUBJECT
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/status"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"

	"github.com/seqstep/seqstep/clients/go/update"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: update-step CUSTOMER PROVIDER SEQUENCE STEP SUBJECT")
		os.Exit(2)
	}
	outcome, err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(map[update.Outcome]int{
		update.Applied: 0, update.NotApplied: 1, update.Unknown: 3, update.PartiallyApplied: 4,
	}[outcome])
}

func run(customer, provider, sequence, step, subject string) (update.Outcome, error) {
	target := os.Getenv("SEQSTEP_ADDRESS")
	if target == "" {
		target = "127.0.0.1:50051"
	}
	channel, err := update.Dial(target, os.Getenv("SEQSTEP_CA"), update.WithRetries())
	if err != nil {
		return 0, err
	}
	defer channel.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	response, err := engagementv1.NewSequenceStepServiceClient(channel).UpdateStep(
		update.For(ctx, customer, provider, os.Getenv("SEQSTEP_API_KEY")),
		&engagementv1.UpdateStepRequest{
			SequenceId:     sequence,
			SequenceStepId: step,
			Record:         &engagementv1.SequenceStepRecord{Template: &engagementv1.StepTemplate{Subject: &subject}},
		})
	if err != nil {
		fmt.Println(status.Code(err), status.Convert(err).Message())
	}
	envelope := update.Envelope(response, err)
	for _, change := range envelope.GetChanges() {
		fmt.Printf("Changed %s.\n", change.GetField())
	}
	for _, warning := range envelope.GetWarnings() {
		fmt.Printf("%s: %s\n", warning.GetProblemType(), warning.GetDetail())
	}
	for _, fault := range envelope.GetErrors() {
		fmt.Printf("%s: %s\n", fault.GetCode(), fault.GetDetail())
		if wait := fault.GetMeta().GetRetryAfter(); wait != nil {
			fmt.Printf("  repeat the call in %s\n", wait.AsDuration())
		}
	}
	return update.OutcomeOf(response, err), nil
}
