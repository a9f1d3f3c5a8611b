// A program elsewhere that depends on github.com/seqstep/seqstep/clients/go.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/seqstep/seqstep/clients/go/seqstep"
	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"
)

func main() {
	conn, err := seqstep.NewConn(
		os.Getenv("SEQSTEP_ADDRESS"), seqstep.WithPlaintext(), seqstep.WithAPIKey(os.Getenv("SEQSTEP_API_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	response, err := engagementv1.NewSequenceStepServiceClient(conn).UpdateStep(
		seqstep.For(ctx, "acme", "outreach"),
		&engagementv1.UpdateStepRequest{
			SequenceId:     "7",
			SequenceStepId: "101",
			Record:         &engagementv1.SequenceStepRecord{Template: &engagementv1.StepTemplate{Subject: &os.Args[1]}},
		})
	if err != nil {
		log.Fatal(err)
	}
	for _, change := range response.GetChanges() {
		fmt.Printf("Changed %s.\n", change.GetField())
	}
}
