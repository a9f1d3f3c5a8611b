package io.github.seqstep.client;

import com.engagement.v1.ConnectionServiceGrpc;
import com.engagement.v1.SequenceStepServiceGrpc;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.PrototypeMarshaller;
import io.grpc.Status;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;

/** Makes the calls of the vectors and prints what is observed, as tests/vectors/README.md says. */
public final class RunVectors {

  private static final JsonFormat.Printer PRINTER =
      JsonFormat.printer().preservingProtoFieldNames().alwaysPrintFieldsWithNoPresence();

  private static final Map<String, MethodDescriptor<?, ?>> METHODS = new HashMap<>();

  static {
    for (var service :
        List.of(
            SequenceStepServiceGrpc.getServiceDescriptor(),
            ConnectionServiceGrpc.getServiceDescriptor())) {
      service.getMethods().forEach(method -> METHODS.put(method.getBareMethodName(), method));
    }
  }

  /** Those whose outcome is observed. */
  private static final Set<String> CHANGES = Set.of("UpdateStep", "RevertStepChange");

  private static final Context.Key<AtomicReference<Metadata>> TRAILERS = Context.key("trailers");

  private final SeqstepClient client;
  private final String sandbox;
  private final ScheduledExecutorService timer;
  private final HttpClient http =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

  private RunVectors(SeqstepClient client, String sandbox, ScheduledExecutorService timer) {
    this.client = client;
    this.sandbox = sandbox;
    this.timer = timer;
  }

  public static void main(String[] args) throws Exception {
    Map<String, String> env = System.getenv();
    var timer = Executors.newSingleThreadScheduledExecutor();
    try (SeqstepClient client = client(env)) {
      new RunVectors(client, env.get("SANDBOX"), timer).run(Path.of(env.get("VECTORS")));
    } finally {
      timer.shutdownNow();
    }
  }

  private static SeqstepClient client(Map<String, String> env) throws IOException {
    var builder =
        SeqstepClient.builder(env.get("TARGET"))
            .apiKey(env.get("API_KEY"))
            .interceptors(new KeepTrailers());
    if (env.containsKey("CLIENT_CERTIFICATE")) {
      builder.clientCertificate(
          new File(env.get("CLIENT_CERTIFICATE")), new File(env.get("CLIENT_KEY")));
    }
    return env.containsKey("CA")
        ? builder.trust(new File(env.get("CA"))).build()
        : builder.plaintextOnLoopback().build();
  }

  private void run(Path folder) throws Exception {
    List<Path> files;
    try (Stream<Path> all = Files.list(folder)) {
      files =
          all.filter(file -> file.toString().endsWith(".json"))
              .filter(file -> !file.endsWith("customers.json"))
              .sorted()
              .toList();
    }
    for (Path file : files) {
      JsonObject topic = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
      for (JsonElement each : topic.getAsJsonArray("vectors")) {
        JsonObject vector = each.getAsJsonObject();
        JsonObject line = new JsonObject();
        line.add("vector", vector.get("name"));
        line.add("observations", observe(vector));
        System.out.println(line);
        System.out.flush();
      }
    }
  }

  private JsonArray observe(JsonObject vector) throws Exception {
    control("POST", "/reset", null);
    for (JsonElement order : array(vector, "sandbox")) {
      JsonObject call = order.getAsJsonObject();
      control(call.get("method").getAsString(), call.get("path").getAsString(), call.get("body"));
    }
    JsonArray all = new JsonArray();
    Map<String, JsonElement> captured = new HashMap<>();
    for (JsonElement call : vector.has("calls") ? array(vector, "calls") : List.of(vector)) {
      JsonArray observed = observeCall(replaced(call, captured).getAsJsonObject());
      JsonElement made = control("GET", "/calls", null);
      for (JsonElement each : observed) {
        each.getAsJsonObject().addProperty("provider_calls", made.getAsJsonArray().size());
        all.add(each);
      }
      if (call.getAsJsonObject().has("capture")) {
        call.getAsJsonObject()
            .getAsJsonObject("capture")
            .asMap()
            .forEach((name, path) -> captured.put(name, at(observed.get(0), path.getAsString())));
      }
    }
    return all;
  }

  /** All of a call that is made several times at once. */
  private JsonArray observeCall(JsonObject call) throws Exception {
    String name = call.has("method") ? call.get("method").getAsString() : "UpdateStep";
    MethodDescriptor<?, ?> method = METHODS.get(name);
    Message request = request(method, call);
    CallSettings settings =
        CallSettings.DEFAULT.withDeadline(seconds(call, "deadline_seconds", 10));
    for (JsonElement pair : array(call, "metadata")) {
      JsonArray entry = pair.getAsJsonArray();
      settings = settings.with(entry.get(0).getAsString(), entry.get(1).getAsString());
    }
    Duration cancelAfter =
        call.has("cancel_after_seconds") ? seconds(call, "cancel_after_seconds", 0) : null;

    int times = call.has("times") ? call.get("times").getAsInt() : 1;
    var pool = Executors.newFixedThreadPool(times);
    try {
      CallSettings same = settings;
      List<Future<JsonObject>> started = new ArrayList<>();
      for (int i = 0; i < times; i++) {
        started.add(pool.submit(() -> observeOnce(method, request, same, cancelAfter)));
      }
      JsonArray observed = new JsonArray();
      for (Future<JsonObject> each : started) {
        observed.add(each.get());
      }
      return observed;
    } finally {
      pool.shutdownNow();
    }
  }

  @SuppressWarnings("unchecked")
  private JsonObject observeOnce(
      MethodDescriptor<?, ?> method, Message request, CallSettings settings, Duration cancelAfter)
      throws Exception {
    var typed = (MethodDescriptor<Message, Message>) method;
    AtomicReference<Metadata> trailers = new AtomicReference<>(new Metadata());
    JsonObject seen = new JsonObject();
    Outcome outcome = Outcome.APPLIED;
    var context = Context.current().withValue(TRAILERS, trailers).withCancellation();
    long began = System.nanoTime();
    try {
      if (cancelAfter != null) {
        timer.schedule(() -> context.cancel(null), cancelAfter.toNanos(), TimeUnit.NANOSECONDS);
      }
      Message response = context.call(() -> client.call(typed, request, settings));
      addStatus(seen, Status.OK);
      seen.add("response", json(response));
    } catch (SeqstepException e) {
      addStatus(seen, e.status());
      addDetails(seen, e);
      outcome = e.outcome();
    } catch (RuntimeException e) {
      e.printStackTrace();
      JsonObject crashed = new JsonObject();
      crashed.addProperty("crashed", e.toString());
      return crashed;
    } finally {
      context.close();
    }
    seen.addProperty("seconds", (System.nanoTime() - began) / 1e9);
    seen.add("trailers", json(trailers.get()));
    if (CHANGES.contains(method.getBareMethodName())) {
      seen.addProperty("outcome", outcome.name());
    }
    return seen;
  }

  private static Message request(MethodDescriptor<?, ?> method, JsonObject call)
      throws IOException {
    JsonObject request = call.getAsJsonObject("request").deepCopy();
    if (call.has("repeat")) {
      call.getAsJsonObject("repeat").asMap().forEach((path, value) -> put(request, path, value));
    }
    var marshaller = (PrototypeMarshaller<?>) method.getRequestMarshaller();
    Message.Builder message = ((Message) marshaller.getMessagePrototype()).newBuilderForType();
    JsonFormat.parser().merge(request.toString(), message);
    return message.build();
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

  /** The same with what was captured in the place of each `${NAME}`. */
  private static JsonElement replaced(JsonElement in, Map<String, JsonElement> captured) {
    if (in.isJsonObject()) {
      JsonObject object = new JsonObject();
      in.getAsJsonObject().asMap().forEach((k, v) -> object.add(k, replaced(v, captured)));
      return object;
    }
    if (in.isJsonArray()) {
      JsonArray array = new JsonArray();
      in.getAsJsonArray().forEach(item -> array.add(replaced(item, captured)));
      return array;
    }
    if (in instanceof JsonPrimitive text && text.isString()) {
      String value = text.getAsString();
      if (value.startsWith("${") && value.endsWith("}")) {
        return captured.getOrDefault(value.substring(2, value.length() - 1), in);
      }
    }
    return in;
  }

  /** What is at a path such as `response.steps.0.etag`; an empty text where nothing is. */
  private static JsonElement at(JsonElement in, String path) {
    JsonElement found = in;
    for (String name : path.split("\\.")) {
      if (found instanceof JsonObject object && object.has(name)) {
        found = object.get(name);
      } else if (found instanceof JsonArray array
          && name.matches("\\d+")
          && Integer.parseInt(name) < array.size()) {
        found = array.get(Integer.parseInt(name));
      } else {
        return new JsonPrimitive("");
      }
    }
    return found;
  }

  private static Duration seconds(JsonObject call, String name, double otherwise) {
    double seconds = call.has(name) ? call.get(name).getAsDouble() : otherwise;
    return Duration.ofNanos((long) (seconds * 1e9));
  }

  private static void addStatus(JsonObject seen, Status status) {
    seen.addProperty("status", status.getCode().name());
    seen.addProperty("message", status.getDescription() == null ? "" : status.getDescription());
  }

  private static void addDetails(JsonObject seen, SeqstepException failure) throws IOException {
    var response = failure.response(Message.class);
    if (response.isPresent()) {
      seen.add("response", json(response.get()));
    }
    failure
        .detail(BadRequest.class)
        .ifPresent(
            bad -> {
              JsonObject violations = new JsonObject();
              bad.getFieldViolationsList()
                  .forEach(v -> violations.addProperty(v.getField(), v.getDescription()));
              seen.add("violations", violations);
            });
    failure
        .detail(RetryInfo.class)
        .map(RetryInfo::getRetryDelay)
        .ifPresent(d -> seen.addProperty("retry_delay", d.getSeconds() + d.getNanos() / 1e9));
    failure.detail(ErrorInfo.class).ifPresent(info -> seen.addProperty("reason", info.getReason()));
  }

  private static JsonObject json(Metadata received) {
    JsonObject trailers = new JsonObject();
    for (String name : received.keys()) {
      if (name.startsWith("x-")) {
        trailers.addProperty(name, received.get(CallSettings.key(name)));
      }
    }
    return trailers;
  }

  private static JsonElement json(Message message) throws IOException {
    return JsonParser.parseString(PRINTER.print(message));
  }

  private static JsonArray array(JsonObject object, String name) {
    return object.has(name) ? object.getAsJsonArray(name) : new JsonArray();
  }

  /** Calls the control API of the sandbox. */
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

  /** Keeps the trailing metadata of a call for who made it. */
  private static final class KeepTrailers implements ClientInterceptor {
    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(
        MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
      return MetadataUtils.newCaptureMetadataInterceptor(new AtomicReference<>(), TRAILERS.get())
          .interceptCall(method, options, next);
    }
  }
}
