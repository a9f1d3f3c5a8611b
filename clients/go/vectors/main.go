// Command run-vectors calls what the vectors say, and prints what it observes, as tests/vectors/README.md describes.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/seqstep/seqstep/generated/go/engagement/v1" // Registers the contract.

	"github.com/seqstep/seqstep/clients/go/seqstep"
)

type object = map[string]any

type vector struct {
	Name    string
	Sandbox []struct {
		Method, Path string
		Body         json.RawMessage
	}
	Calls []call
	call
}

type call struct {
	Method   string
	Metadata [][2]string
	Request  object
	Repeat   map[string]struct {
		Text  string
		Times int
	}
	DeadlineSeconds    float64  `json:"deadline_seconds"`
	CancelAfterSeconds *float64 `json:"cancel_after_seconds"`
	Times              int
	Capture            map[string]string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	conn, err := connect()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	files, err := filepath.Glob(filepath.Join(os.Getenv("VECTORS"), "*.json"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	lines := json.NewEncoder(os.Stdout)
	lines.SetEscapeHTML(false)
	for _, file := range files {
		if filepath.Base(file) == "customers.json" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var topic struct{ Vectors []vector }
		if err := json.Unmarshal(text, &topic); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, each := range topic.Vectors {
			seen, err := observe(conn, each)
			if err != nil {
				return fmt.Errorf("%s: %w", each.Name, err)
			}
			if err := lines.Encode(object{"vector": each.Name, "observations": seen}); err != nil {
				return err
			}
		}
	}
	return nil
}

func connect() (*grpc.ClientConn, error) {
	options := []seqstep.Option{seqstep.WithAPIKey(os.Getenv("API_KEY"))}
	if ca := os.Getenv("CA"); ca != "" {
		options = append(options, seqstep.WithCA(ca))
	} else {
		options = append(options, seqstep.WithPlaintext())
	}
	if certificate := os.Getenv("CLIENT_CERTIFICATE"); certificate != "" {
		options = append(options, seqstep.WithClientCertificate(certificate, os.Getenv("CLIENT_KEY")))
	}
	return seqstep.NewConn(os.Getenv("TARGET"), options...)
}

// observe makes the calls of a vector and returns one observation for each.
func observe(conn *grpc.ClientConn, each vector) ([]object, error) {
	if _, err := control("POST", "/reset", nil); err != nil {
		return nil, err
	}
	for _, order := range each.Sandbox {
		if _, err := control(order.Method, order.Path, order.Body); err != nil {
			return nil, err
		}
	}
	if each.Calls == nil {
		each.Calls = []call{each.call}
	}
	captured := object{}
	var all []object
	for _, next := range each.Calls {
		seen, err := next.observe(conn, captured)
		if err != nil {
			return nil, err
		}
		for name, path := range next.Capture {
			captured[name] = at(seen[0], path)
		}
		all = append(all, seen...)
	}
	return all, nil
}

func (c call) observe(conn *grpc.ClientConn, captured object) ([]object, error) {
	if c.Method == "" {
		c.Method = "UpdateStep"
	}
	method, err := find(c.Method)
	if err != nil {
		return nil, err
	}
	request, err := message(method.Input())
	if err != nil {
		return nil, err
	}
	if err := c.read(captured, request); err != nil {
		return nil, err
	}
	seen := make([]object, max(c.Times, 1))
	var running sync.WaitGroup
	for index := range seen {
		running.Go(func() { seen[index] = c.once(conn, method, request, captured) })
	}
	running.Wait()
	received, err := control("GET", "/calls", nil)
	if err != nil {
		return nil, err
	}
	var calls []any
	if err := json.Unmarshal(received, &calls); err != nil {
		return nil, err
	}
	for _, each := range seen {
		if _, crashed := each["crashed"]; !crashed {
			each["provider_calls"] = len(calls)
		}
	}
	return seen, nil
}

// once makes the call; whatever comes out of the client but its own error is a crash.
func (c call) once(
	conn *grpc.ClientConn, method protoreflect.MethodDescriptor, request proto.Message, captured object,
) (seen object) {
	defer func() {
		if why := recover(); why != nil {
			seen = object{"crashed": fmt.Sprint(why)}
		}
	}()
	response, err := message(method.Output())
	if err != nil {
		return object{"crashed": err.Error()}
	}
	if c.DeadlineSeconds == 0 {
		c.DeadlineSeconds = 10
	}
	ctx, cancel := context.WithTimeout(context.Background(), seconds(c.DeadlineSeconds))
	defer cancel()
	if c.CancelAfterSeconds != nil {
		defer time.AfterFunc(seconds(*c.CancelAfterSeconds), cancel).Stop()
	}
	for _, pair := range c.Metadata {
		value := fmt.Sprint(filled(pair[1], captured))
		ctx = metadata.AppendToOutgoingContext(ctx, pair[0], value)
	}
	var trailers metadata.MD
	path := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	started := time.Now()
	failure := conn.Invoke(ctx, path, request, response, grpc.Trailer(&trailers))
	took := time.Since(started)

	seen = ended(response, failure)
	seen["seconds"] = took.Seconds()
	if c.Method == "UpdateStep" || c.Method == "RevertStepChange" {
		seen["outcome"] = seqstep.OutcomeOf(failure).String()
	}
	shown := object{}
	for key, values := range trailers {
		if strings.HasPrefix(key, "x-") {
			shown[key] = values[0]
		}
	}
	seen["trailers"] = shown
	return seen
}

// ended is how a call ended, and what the details of its status say.
func ended(response proto.Message, failure error) object {
	end := status.New(codes.OK, "")
	if failure != nil {
		var typed *seqstep.Error
		if !errors.As(failure, &typed) {
			return object{"crashed": fmt.Sprintf("%T: %v", failure, failure)}
		}
		end, response = typed.Status, typed.Response
		if typed.Response == nil {
			response = nil
		}
	}
	seen := object{"status": code.Code(end.Code()).String(), "message": end.Message()}
	if response != nil {
		seen["response"] = jsonOf(response)
	}
	for _, detail := range end.Details() {
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
	return seen
}

// find returns a method by its name, which is unique among the services of the contract.
func find(name string) (protoreflect.MethodDescriptor, error) {
	var found protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("engagement.v1", func(file protoreflect.FileDescriptor) bool {
		for index := range file.Services().Len() {
			if method := file.Services().Get(index).Methods().ByName(protoreflect.Name(name)); method != nil {
				found = method
			}
		}
		return found == nil
	})
	if found == nil {
		return nil, fmt.Errorf("the contract has no method %s", name)
	}
	return found, nil
}

func message(descriptor protoreflect.MessageDescriptor) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.FullName())
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}

// read makes the request of a call.
func (c call) read(captured object, request proto.Message) error {
	shape, _ := filled(c.Request, captured).(object)
	for path, repeat := range c.Repeat {
		names := strings.Split("record."+path, ".")
		parent := shape
		for _, name := range names[:len(names)-1] {
			if _, there := parent[name].(object); !there {
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

// filled is a value with what was captured in the place of each `${NAME}`.
func filled(value any, captured object) any {
	switch value := value.(type) {
	case string:
		if name, is := strings.CutPrefix(value, "${"); is && strings.HasSuffix(name, "}") {
			return captured[strings.TrimSuffix(name, "}")]
		}
	case []any:
		items := make([]any, len(value))
		for index, item := range value {
			items[index] = filled(item, captured)
		}
		return items
	case object:
		members := object{}
		for name, member := range value {
			members[name] = filled(member, captured)
		}
		return members
	}
	return value
}

// at is what stands at a path of names and indexes; nil if nothing does.
func at(value any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch within := value.(type) {
		case object:
			value = within[step]
		case []any:
			index, err := strconv.Atoi(step)
			if err != nil || index < 0 || index >= len(within) {
				return nil
			}
			value = within[index]
		default:
			return nil
		}
	}
	return value
}

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }

func jsonOf(message proto.Message) any {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(message)
	if err != nil {
		panic(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		panic(err)
	}
	return value
}

// control calls the control API of the sandbox.
func control(method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(method, os.Getenv("SANDBOX")+"/_sandbox"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("the sandbox answered %s %s with %s", method, path, text)
	}
	return text, err
}
