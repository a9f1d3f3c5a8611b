// Command update-step changes the subject of a step and says what became of it:
//
//	SEQSTEP_API_KEY=… update-step [-plaintext] CUSTOMER PROVIDER SEQUENCE STEP SUBJECT
//
// The exit status is 0 if the step is as asked, 1 if it was not changed, 2 for wrong usage, 3 if it is not known what became
// of the step, 4 if it was changed in part.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"

	"github.com/seqstep/seqstep/clients/go/seqstep"
)

const usage = "usage: update-step [-plaintext] CUSTOMER PROVIDER SEQUENCE STEP SUBJECT"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run makes the call and returns the exit status.
func run(ctx context.Context, arguments []string, getenv func(string) string, out, complaints io.Writer) int {
	flags := flag.NewFlagSet("update-step", flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.Usage = func() { _, _ = fmt.Fprintln(complaints, usage) }
	plaintext := flags.Bool("plaintext", false, "no TLS, to a service on this machine")
	if err := flags.Parse(arguments); err != nil {
		return 2
	}
	if flags.NArg() != 5 {
		flags.Usage()
		return 2
	}
	target := getenv("SEQSTEP_ADDRESS")
	if target == "" {
		target = "127.0.0.1:50051"
	}
	conn, err := seqstep.NewConn(target, options(getenv, *plaintext)...)
	if err != nil {
		_, _ = fmt.Fprintln(complaints, err)
		return 2
	}
	defer func() { _ = conn.Close() }()

	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	subject := flags.Arg(4)
	response, err := engagementv1.NewSequenceStepServiceClient(conn).UpdateStep(
		seqstep.For(ctx, flags.Arg(0), flags.Arg(1)),
		&engagementv1.UpdateStepRequest{
			SequenceId:     flags.Arg(2),
			SequenceStepId: flags.Arg(3),
			Record:         &engagementv1.SequenceStepRecord{Template: &engagementv1.StepTemplate{Subject: &subject}},
		})
	var failure *seqstep.Error
	if errors.As(err, &failure) {
		// What failed may have changed something, and may say so.
		response, _ = failure.Response.(*engagementv1.UpdateStepResponse)
	}
	for _, change := range response.GetChanges() {
		_, _ = fmt.Fprintf(out, "Changed %s.\n", change.GetField())
	}
	for _, warning := range response.GetWarnings() {
		_, _ = fmt.Fprintf(out, "%s: %s\n", warning.GetProblemType(), warning.GetDetail())
	}
	for _, fault := range response.GetErrors() {
		_, _ = fmt.Fprintf(complaints, "%s: %s\n", fault.GetCode(), fault.GetDetail())
		if wait := fault.GetMeta().GetRetryAfter(); wait != nil {
			_, _ = fmt.Fprintf(complaints, "  repeat the call in %s\n", wait.AsDuration())
		}
	}
	if err != nil && len(response.GetErrors()) == 0 {
		_, _ = fmt.Fprintln(complaints, err)
	}
	return exitStatus(seqstep.OutcomeOf(err))
}

func options(getenv func(string) string, plaintext bool) []seqstep.Option {
	chosen := []seqstep.Option{seqstep.WithAPIKey(getenv("SEQSTEP_API_KEY"))}
	if plaintext {
		chosen = append(chosen, seqstep.WithPlaintext())
	}
	if ca := getenv("SEQSTEP_CA"); ca != "" {
		chosen = append(chosen, seqstep.WithCA(ca))
	}
	if certificate := getenv("SEQSTEP_CLIENT_CERTIFICATE"); certificate != "" {
		chosen = append(chosen, seqstep.WithClientCertificate(certificate, getenv("SEQSTEP_CLIENT_KEY")))
	}
	return chosen
}

func exitStatus(outcome seqstep.Outcome) int {
	switch outcome {
	case seqstep.Applied:
		return 0
	case seqstep.NotApplied:
		return 1
	case seqstep.PartiallyApplied:
		return 4
	default:
		return 3
	}
}
