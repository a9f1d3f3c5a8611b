// Command run-vectors runs the vectors as tests/vectors/README.md tells.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	engagementv1 "github.com/seqstep/seqstep/generated/go/engagement/v1"

	"github.com/seqstep/seqstep/clients/go/update"
)

type vector struct {
	Name    string
	Method  string
	Sandbox []struct {
		Method, Path string
		Body         json.RawMessage
	}
	Metadata [][2]string
	Request  json.RawMessage
	Repeat   map[string]struct {
		Text  string
		Times int
	}
	DeadlineSeconds float64 `json:"deadline_seconds"`
	Expect          any
}

// method makes the messages of a method.
type method struct {
	request, response func() proto.Message
}

var methods = map[string]method{
	"UpdateStep": {
		func() proto.Message { return &engagementv1.UpdateStepRequest{} },
		func() proto.Message { return &engagementv1.UpdateStepResponse{} },
	},
	"GetStep": {
		func() proto.Message { return &engagementv1.GetStepRequest{} },
		func() proto.Message { return &engagementv1.GetStepResponse{} },
	},
	"ListSteps": {
		func() proto.Message { return &engagementv1.ListStepsRequest{} },
		func() proto.Message { return &engagementv1.ListStepsResponse{} },
	},
}

func main() {
	passed, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !passed {
		os.Exit(1)
	}
}

func run() (bool, error) {
	channel, err := update.Dial(os.Getenv("TARGET"), os.Getenv("CA"))
	if err != nil {
		return false, err
	}
	defer channel.Close()
	files, err := filepath.Glob(filepath.Join(os.Getenv("VECTORS"), "*.json"))
	if err != nil {
		return false, err
	}
	sort.Strings(files)
	all := true
	for _, file := range files {
		if filepath.Base(file) == "customers.json" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		var topic struct{ Vectors []vector }
		if err := json.Unmarshal(text, &topic); err != nil {
			return false, fmt.Errorf("%s: %w", file, err)
		}
		for _, each := range topic.Vectors {
			all = report(each, channel) && all
		}
	}
	return all, nil
}

func report(each vector, channel *grpc.ClientConn) bool {
	seen, err := observe(each, channel)
	fault := ""
	if err != nil {
		fault = err.Error()
	} else {
		fault = mismatch("observation", each.Expect, seen)
	}
	if fault != "" {
		fmt.Printf("failed %s: %s\n", each.Name, strings.ReplaceAll(fault, "\n", " "))
		return false
	}
	fmt.Println("passed", each.Name)
	return true
}

func observe(each vector, channel *grpc.ClientConn) (object, error) {
	if _, err := control("POST", "/reset", nil); err != nil {
		return nil, err
	}
	for _, order := range each.Sandbox {
		if _, err := control(order.Method, order.Path, order.Body); err != nil {
			return nil, err
		}
	}
	if each.Method == "" {
		each.Method = "UpdateStep"
	}
	called := methods[each.Method]
	request, response := called.request(), called.response()
	if err := parse(each, request); err != nil {
		return nil, err
	}
	if each.DeadlineSeconds == 0 {
		each.DeadlineSeconds = 10
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(each.DeadlineSeconds*float64(time.Second)))
	defer cancel()
	var trailers metadata.MD
	failure := channel.Invoke(metadata.NewOutgoingContext(ctx, metadataOf(each)),
		"/engagement.v1.SequenceStepService/"+each.Method, request, response, grpc.Trailer(&trailers))
	seen, err := observed(response, failure)
	if err != nil {
		return nil, err
	}
	shown := object{}
	for key, values := range trailers {
		if strings.HasPrefix(key, "x-") {
			shown[key] = values[0]
		}
	}
	seen["trailers"] = shown
	received, err := control("GET", "/calls", nil)
	if err != nil {
		return nil, err
	}
	var calls []any
	if err := json.Unmarshal(received, &calls); err != nil {
		return nil, err
	}
	seen["provider_calls"] = float64(len(calls))
	return seen, nil
}

// parse reads the request of a vector.
func parse(each vector, request proto.Message) error {
	var shape object
	if err := json.Unmarshal(each.Request, &shape); err != nil {
		return err
	}
	for path, repeat := range each.Repeat {
		names := strings.Split("record."+path, ".")
		parent := shape
		for _, name := range names[:len(names)-1] {
			if _, there := parent[name]; !there {
				parent[name] = object{}
			}
			parent = parent[name].(object)
		}
		parent[names[len(names)-1]] = strings.Repeat(repeat.Text, repeat.Times)
	}
	text, err := json.Marshal(shape)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, request)
}

func metadataOf(each vector) metadata.MD {
	pairs := metadata.MD{}
	for _, pair := range each.Metadata {
		pairs.Append(pair[0], pair[1])
	}
	if len(pairs.Get("x-api-key")) == 0 {
		pairs.Set("x-api-key", os.Getenv("API_KEY"))
	}
	return pairs
}

// observed is all that a call's end tells, but for its trailers.
func observed(response proto.Message, failure error) (object, error) {
	ended := status.Convert(failure)
	seen := object{"status": code.Code(ended.Code()).String(), "message": ended.Message()}
	answered := failure == nil
	for _, detail := range ended.Details() {
		if envelope, ok := detail.(proto.Message); ok &&
			envelope.ProtoReflect().Descriptor() == response.ProtoReflect().Descriptor() {
			response, answered = envelope, true
		}
	}
	if answered {
		shown, err := jsonOf(response)
		if err != nil {
			return nil, err
		}
		seen["response"] = shown
	}
	for _, detail := range ended.Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			violations := object{}
			for _, violation := range detail.GetFieldViolations() {
				violations[violation.GetField()] = violation.GetDescription()
			}
			seen["violations"] = violations
		case *errdetails.RetryInfo:
			seen["retry_delay"] = detail.GetRetryDelay().AsDuration().Seconds()
		case *errdetails.ErrorInfo:
			seen["reason"] = detail.GetReason()
		}
	}
	return seen, nil
}

func jsonOf(message proto.Message) (any, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(message)
	if err != nil {
		return nil, err
	}
	var value any
	return value, json.Unmarshal(text, &value)
}

// control calls the sandbox's control API.
func control(method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(method, os.Getenv("SANDBOX")+"/_sandbox"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("the sandbox answered %s %s with %s", method, path, text)
	}
	return text, err
}
