package io.github.seqstep.client;

import com.engagement.v1.SequenceStepServiceGrpc.SequenceStepServiceBlockingStub;
import com.engagement.v1.GetStepRequest;
import com.engagement.v1.GetStepResponse;
import com.engagement.v1.ListStepsRequest;
import com.engagement.v1.ListStepsResponse;
import com.engagement.v1.UpdateStepRequest;
import com.engagement.v1.UpdateStepResponse;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;

/** Runs the vectors as tests/vectors/README.md tells. */
public final class RunVectors {

  private static final JsonFormat.Printer PRINTER =
      JsonFormat.printer().preservingProtoFieldNames().alwaysPrintFieldsWithNoPresence();

  private final ManagedChannel channel;
  private final String apiKey;
  private final String sandbox;
  private final HttpClient http =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

  private RunVectors(ManagedChannel channel, String apiKey, String sandbox) {
    this.channel = channel;
    this.apiKey = apiKey;
    this.sandbox = sandbox;
  }

  public static void main(String[] args) throws Exception {
    ManagedChannel channel = UpdateStep.channel(System.getenv("TARGET"), System.getenv("CA"));
    boolean allPassed;
    try {
      allPassed =
          new RunVectors(channel, System.getenv("API_KEY"), System.getenv("SANDBOX"))
              .run(Path.of(System.getenv("VECTORS")));
    } finally {
      channel.shutdownNow();
    }
    System.exit(allPassed ? 0 : 1);
  }

  private boolean run(Path folder) throws IOException {
    List<Path> files;
    try (Stream<Path> all = Files.list(folder)) {
      files =
          all.filter(file -> file.toString().endsWith(".json"))
              .filter(file -> !file.endsWith("customers.json"))
              .sorted()
              .toList();
    }
    boolean allPassed = true;
    for (Path file : files) {
      JsonObject topic = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
      for (JsonElement vector : topic.getAsJsonArray("vectors")) {
        allPassed &= passes(vector.getAsJsonObject());
      }
    }
    return allPassed;
  }

  private boolean passes(JsonObject vector) {
    String name = vector.get("name").getAsString();
    Optional<String> fault;
    try {
      control("POST", "/reset", null);
      for (JsonElement order : array(vector, "sandbox")) {
        JsonObject call = order.getAsJsonObject();
        control(call.get("method").getAsString(), call.get("path").getAsString(), call.get("body"));
      }
      fault = Matcher.mismatch(vector.get("expect"), observe(vector));
    } catch (Exception e) {
      fault = Optional.of(e.toString());
    }
    System.out.println(
        fault.map(why -> "failed " + name + ": " + why.replace('\n', ' ')).orElse("passed " + name));
    return fault.isEmpty();
  }

  private JsonObject observe(JsonObject vector) throws Exception {
    String method = vector.has("method") ? vector.get("method").getAsString() : "UpdateStep";
    double seconds =
        vector.has("deadline_seconds") ? vector.get("deadline_seconds").getAsDouble() : 10;
    AtomicReference<Metadata> headers = new AtomicReference<>();
    AtomicReference<Metadata> trailers = new AtomicReference<>();
    SequenceStepServiceBlockingStub stub =
        UpdateStep.stub(channel, metadata(vector), Duration.ofNanos((long) (seconds * 1e9)))
            .withInterceptors(MetadataUtils.newCaptureMetadataInterceptor(headers, trailers));

    JsonObject seen = new JsonObject();
    try {
      Message response =
          switch (method) {
            case "GetStep" -> stub.getStep(parse(vector, GetStepRequest.newBuilder()).build());
            case "ListSteps" -> stub.listSteps(parse(vector, ListStepsRequest.newBuilder()).build());
            default -> stub.updateStep(parse(vector, UpdateStepRequest.newBuilder()).build());
          };
      addStatus(seen, Status.OK);
      seen.add("response", json(response));
    } catch (StatusRuntimeException e) {
      addStatus(seen, e.getStatus());
      addDetails(seen, e, RESPONSES.get(method));
    }
    seen.add("trailers", trailers(trailers.get()));
    seen.addProperty("provider_calls", control("GET", "/calls", null).getAsJsonArray().size());
    return seen;
  }

  private static final Map<String, Class<? extends Message>> RESPONSES =
      Map.of(
          "UpdateStep", UpdateStepResponse.class,
          "GetStep", GetStepResponse.class,
          "ListSteps", ListStepsResponse.class);

  private static <B extends Message.Builder> B parse(JsonObject vector, B request)
      throws InvalidProtocolBufferException {
    JsonFormat.parser().merge(request(vector).toString(), request);
    return request;
  }

  private static JsonObject request(JsonObject vector) {
    JsonObject request = vector.getAsJsonObject("request").deepCopy();
    if (vector.has("repeat")) {
      vector.getAsJsonObject("repeat").asMap().forEach((path, value) -> put(request, path, value));
    }
    return request;
  }

  /** Puts a repeated text into `record`, at a path such as `template.body`. */
  private static void put(JsonObject request, String path, JsonElement repeated) {
    String[] names = ("record." + path).split("\\.");
    JsonObject parent = request;
    for (String name : List.of(names).subList(0, names.length - 1)) {
      if (!parent.has(name)) {
        parent.add(name, new JsonObject());
      }
      parent = parent.getAsJsonObject(name);
    }
    JsonObject value = repeated.getAsJsonObject();
    parent.addProperty(
        names[names.length - 1],
        value.get("text").getAsString().repeat(value.get("times").getAsInt()));
  }

  private Metadata metadata(JsonObject vector) {
    Metadata metadata = new Metadata();
    for (JsonElement pair : array(vector, "metadata")) {
      JsonArray keyAndValue = pair.getAsJsonArray();
      metadata.put(
          UpdateStep.key(keyAndValue.get(0).getAsString()), keyAndValue.get(1).getAsString());
    }
    if (!metadata.containsKey(UpdateStep.key("x-api-key"))) {
      metadata.put(UpdateStep.key("x-api-key"), apiKey);
    }
    return metadata;
  }

  private static void addStatus(JsonObject seen, Status status) {
    seen.addProperty("status", status.getCode().name());
    seen.addProperty("message", status.getDescription() == null ? "" : status.getDescription());
  }

  private static void addDetails(
      JsonObject seen, StatusRuntimeException failure, Class<? extends Message> response)
      throws InvalidProtocolBufferException {
    Optional<? extends Message> envelope = UpdateStep.detail(failure, response);
    if (envelope.isPresent()) {
      seen.add("response", json(envelope.get()));
    }
    UpdateStep.detail(failure, BadRequest.class)
        .ifPresent(
            bad -> {
              JsonObject violations = new JsonObject();
              bad.getFieldViolationsList()
                  .forEach(v -> violations.addProperty(v.getField(), v.getDescription()));
              seen.add("violations", violations);
            });
    UpdateStep.detail(failure, RetryInfo.class)
        .map(RetryInfo::getRetryDelay)
        .ifPresent(d -> seen.addProperty("retry_delay", d.getSeconds() + d.getNanos() / 1e9));
    UpdateStep.detail(failure, ErrorInfo.class)
        .ifPresent(info -> seen.addProperty("reason", info.getReason()));
  }

  private static JsonObject trailers(Metadata received) {
    JsonObject trailers = new JsonObject();
    if (received != null) {
      for (String name : received.keys()) {
        if (name.startsWith("x-")) {
          trailers.addProperty(name, received.get(UpdateStep.key(name)));
        }
      }
    }
    return trailers;
  }

  private static JsonElement json(Message message) throws InvalidProtocolBufferException {
    return JsonParser.parseString(PRINTER.print(message));
  }

  private static JsonArray array(JsonObject object, String name) {
    return object.has(name) ? object.getAsJsonArray(name) : new JsonArray();
  }

  /** Calls the sandbox's control API. */
  private JsonElement control(String method, String path, JsonElement body)
      throws IOException, InterruptedException {
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(sandbox + "/_sandbox" + path))
            .method(
                method,
                body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(body.toString()))
            .build();
    var response = http.send(request, BodyHandlers.ofString());
    if (response.statusCode() >= 300) {
      throw new IOException(
          "the sandbox answered " + method + " " + path + " with " + response.body());
    }
    return response.body().isEmpty()
        ? new JsonPrimitive("")
        : JsonParser.parseString(response.body());
  }
}
