// A program elsewhere that depends on github.com/seqstep/seqstep/clients/go.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/seqstep/seqstep/clients/go/update"
	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"
)

func main() {
	channel, err := update.Dial(os.Getenv("SEQSTEP_ADDRESS"), "", update.WithRetries())
	if err != nil {
		log.Fatal(err)
	}
	defer channel.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	response, err := engagementv1.NewSequenceStepServiceClient(channel).UpdateStep(
		update.For(ctx, "acme", "outreach", os.Getenv("SEQSTEP_API_KEY")),
		&engagementv1.UpdateStepRequest{
			SequenceId:     "7",
			SequenceStepId: "101",
			Record:         &engagementv1.SequenceStepRecord{Template: &engagementv1.StepTemplate{Subject: &os.Args[1]}},
		})
	if update.OutcomeOf(response, err) != update.Applied {
		log.Fatal(response, err)
	}
	for _, change := range response.GetChanges() {
		fmt.Printf("Changed %s.\n", change.GetField())
	}
}
