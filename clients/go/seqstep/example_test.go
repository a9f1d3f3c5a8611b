package seqstep_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"

	"github.com/seqstep/seqstep/clients/go/seqstep"
)

// Look first, and write only over what was seen.
func Example() {
	conn, err := seqstep.NewConn("seqstep.example.com:443", seqstep.WithAPIKey(os.Getenv("SEQSTEP_API_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	steps := engagementv1.NewSequenceStepServiceClient(conn)

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ctx = seqstep.For(ctx, "acme", "outreach")
	read, err := steps.GetStep(ctx, &engagementv1.GetStepRequest{SequenceId: "7", SequenceStepId: "101"})
	if err != nil {
		log.Fatal(err)
	}
	subject := "Hello {{first_name}}"
	response, err := steps.UpdateStep(ctx, &engagementv1.UpdateStepRequest{
		SequenceId: "7", SequenceStepId: "101", Etag: read.GetStep().GetEtag(),
		Record: &engagementv1.SequenceStepRecord{Template: &engagementv1.StepTemplate{Subject: &subject}},
	})
	var failure *seqstep.Error
	switch {
	case err == nil:
		fmt.Println(response.GetChanges())
	case errors.Is(err, seqstep.ErrUnknown):
		fmt.Println("repeat the call:", err)
	case errors.As(err, &failure):
		fmt.Println(failure.Outcome, failure.Errors())
	}
}
