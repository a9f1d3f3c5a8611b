package io.github.seqstep.client;

import static io.github.seqstep.client.ScriptedServer.details;
import static io.github.seqstep.client.ScriptedServer.ok;
import static io.github.seqstep.client.ScriptedServer.status;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.engagement.v1.ErrorOutcome;
import com.engagement.v1.FieldChange;
import com.engagement.v1.GetStepResponse;
import com.engagement.v1.SequenceStepRecord;
import com.engagement.v1.SequenceStepServiceGrpc;
import com.engagement.v1.StepTemplate;
import com.engagement.v1.UpdateStepRequest;
import com.engagement.v1.UpdateStepResponse;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class SeqstepClientTest {

  private static final UpdateStepRequest REQUEST =
      UpdateStepRequest.newBuilder().setSequenceId("7").setSequenceStepId("101").build();
  private static final UpdateStepResponse CHANGED =
      UpdateStepResponse.newBuilder()
          .addChanges(FieldChange.newBuilder().setField("template.subject"))
          .build();
  private static final UpdateStepResponse NOT_APPLIED =
      UpdateStepResponse.newBuilder()
          .addErrors(OutcomeTest.error(ErrorOutcome.ERROR_OUTCOME_NOT_APPLIED_VALUE))
          .build();
  private static final CallSettings SETTINGS = CallSettings.of("acme", "outreach");

  private static SeqstepClient client(ScriptedServer server) {
    return SeqstepClient.builder(server.address()).apiKey("the-key").plaintextOnLoopback().build();
  }

  /** The failure of one call to a server with this script, and how many attempts reached it. */
  private record Failed(SeqstepException failure, int attempts) {
    static Failed after(ScriptedServer.Answer... answers) throws Exception {
      try (var server = new ScriptedServer(answers);
          var client = client(server)) {
        var failure =
            assertThrows(SeqstepException.class, () -> client.updateStep(REQUEST, SETTINGS));
        return new Failed(failure, server.attempts.size());
      }
    }
  }

  private static String header(Metadata metadata, String name) {
    return metadata.get(CallSettings.key(name));
  }

  @Test
  void a_call_carries_its_metadata() throws Exception {
    try (var server = new ScriptedServer(ok(CHANGED));
        var client = client(server)) {
      assertEquals(CHANGED, client.updateStep(REQUEST, SETTINGS.withRequestId("mine")));
      Metadata sent = server.attempts.get(0);
      assertEquals("acme", header(sent, "x-customer-id"));
      assertEquals("outreach", header(sent, "x-provider-name"));
      assertEquals("the-key", header(sent, "x-api-key"));
      assertEquals("mine", header(sent, "x-request-id"));
      assertTrue(header(sent, "user-agent").startsWith("seqstep-java/" + SeqstepClient.VERSION));
    }
  }

  @Test
  void errors_in_a_response_are_thrown() throws Exception {
    SeqstepException failure = Failed.after(ok(NOT_APPLIED)).failure();
    assertEquals(Outcome.NOT_APPLIED, failure.outcome());
    assertEquals(Status.Code.OK, failure.status().getCode());
    assertEquals("A_CODE", failure.errors().get(0).getCode());
    assertEquals(NOT_APPLIED, failure.response(UpdateStepResponse.class).orElseThrow());
  }

  @Test
  void the_envelope_in_details_counts() throws Exception {
    SeqstepException failure =
        Failed.after(details(Status.INTERNAL, Status.Code.INTERNAL, NOT_APPLIED)).failure();
    assertEquals(Outcome.NOT_APPLIED, failure.outcome());
    assertEquals(NOT_APPLIED, failure.response(UpdateStepResponse.class).orElseThrow());
  }

  @Test
  void what_is_not_understood_is_unknown() throws Exception {
    for (var answer :
        new ScriptedServer.Answer[] {
          status(Status.INTERNAL),
          details(Status.INTERNAL, Status.Code.INVALID_ARGUMENT, NOT_APPLIED),
          details(Status.INTERNAL, Status.Code.INTERNAL, UpdateStepResponse.getDefaultInstance()),
          details(
              Status.INTERNAL,
              Status.Code.INTERNAL,
              GetStepResponse.newBuilder().addErrors(NOT_APPLIED.getErrors(0)).build()),
          details(Status.INTERNAL, new byte[] {(byte) 0xff, 1, 2}),
          details(Status.INTERNAL, malformedAny()),
        }) {
      SeqstepException failure = Failed.after(answer).failure();
      assertEquals(Outcome.UNKNOWN, failure.outcome(), failure.getMessage());
      assertEquals(Status.Code.INTERNAL, failure.status().getCode());
    }
  }

  private static byte[] malformedAny() {
    byte[] details =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.INTERNAL.value())
            .addDetails(com.google.protobuf.Any.pack(NOT_APPLIED))
            .build()
            .toByteArray();
    details[details.length - 4] = (byte) 0xff;
    return details;
  }

  @ParameterizedTest
  @ValueSource(ints = {1 << 10, 300 << 10, 5 << 20})
  void unavailable_is_repeated_with_bodies_of_any_length(int bytes) throws Exception {
    var template = StepTemplate.newBuilder().setBody("x".repeat(bytes));
    UpdateStepRequest request =
        REQUEST.toBuilder()
            .setRecord(SequenceStepRecord.newBuilder().setTemplate(template))
            .build();
    try (var server =
            new ScriptedServer(status(Status.UNAVAILABLE), status(Status.CANCELLED), ok(CHANGED));
        var client = client(server)) {
      assertEquals(CHANGED, client.updateStep(request, SETTINGS));
      assertEquals(3, server.attempts.size());
      assertEquals("2", header(server.attempts.get(2), "grpc-previous-rpc-attempts"));
    }
  }

  @Test
  void there_are_four_attempts_at_most() throws Exception {
    Failed failed = Failed.after(status(Status.UNAVAILABLE));
    assertEquals(4, failed.attempts());
    assertEquals(Outcome.UNKNOWN, failed.failure().outcome());
  }

  @Test
  void other_statuses_are_not_repeated() throws Exception {
    assertEquals(1, Failed.after(status(Status.INTERNAL)).attempts());
    assertEquals(1, Failed.after(status(Status.RESOURCE_EXHAUSTED)).attempts());
  }

  @ParameterizedTest
  @ValueSource(strings = {"-1", "soon"})
  void the_service_can_refuse_a_retry(String pushback) throws Exception {
    assertEquals(1, Failed.after(status(Status.UNAVAILABLE, pushback(pushback))).attempts());
  }

  private static Metadata pushback(String value) {
    Metadata trailers = new Metadata();
    trailers.put(CallSettings.key("grpc-retry-pushback-ms"), value);
    return trailers;
  }

  @Test
  void a_service_in_trouble_is_spared() throws Exception {
    try (var server = new ScriptedServer(status(Status.UNAVAILABLE));
        var client = client(server)) {
      for (int i = 0; i < 3; i++) {
        assertThrows(SeqstepException.class, () -> client.updateStep(REQUEST, SETTINGS));
      }
      // Ten tokens, one less with each failure; half of them have to be left.
      assertEquals(6, server.attempts.size());
    }
  }

  @Test
  void a_server_that_says_it_is_not_serving_gets_no_calls() throws Exception {
    try (var server = new ScriptedServer(ok(CHANGED));
        var client = client(server)) {
      server.health.setStatus(SequenceStepServiceGrpc.SERVICE_NAME, ServingStatus.NOT_SERVING);
      var failure =
          assertThrows(SeqstepException.class, () -> client.updateStep(REQUEST, SETTINGS));
      assertEquals(Status.Code.UNAVAILABLE, failure.status().getCode());
      assertEquals(0, server.attempts.size());
    }
  }

  @Test
  void half_a_character_is_refused_and_nothing_is_sent() throws Exception {
    String half = "👋".substring(0, 1);
    try (var server = new ScriptedServer(ok(CHANGED));
        var client = client(server)) {
      for (var record :
          List.of(
              SequenceStepRecord.newBuilder()
                  .setTemplate(StepTemplate.newBuilder().setSubject("Hello " + half)),
              customField("note", Value.newBuilder().setStringValue(half)),
              customField(half, Value.newBuilder().setBoolValue(true)))) {
        UpdateStepRequest request = REQUEST.toBuilder().setRecord(record).build();
        assertThrows(IllegalArgumentException.class, () -> client.updateStep(request, SETTINGS));
      }
      var template = StepTemplate.newBuilder().setSubject("Hello 👋");
      client.updateStep(
          REQUEST.toBuilder()
              .setRecord(SequenceStepRecord.newBuilder().setTemplate(template))
              .build(),
          SETTINGS);
      assertEquals(1, server.attempts.size());
    }
  }

  private static SequenceStepRecord.Builder customField(String name, Value.Builder value) {
    var fields = Struct.newBuilder().putFields(name, value.build());
    return SequenceStepRecord.newBuilder().setCustomFields(fields);
  }

  @ParameterizedTest
  @ValueSource(strings = {"müller", "a\nb", "key\n"})
  void metadata_that_would_arrive_as_something_else_is_refused(String value) {
    assertThrows(IllegalArgumentException.class, () -> CallSettings.of(value, "apollo"));
    assertThrows(IllegalArgumentException.class, () -> SETTINGS.withRequestId(value));
    var builder = SeqstepClient.builder("localhost:1");
    assertThrows(IllegalArgumentException.class, () -> builder.apiKey(value));
  }

  @Test
  void only_servers_that_serve_take_turns() throws Exception {
    try (var first = new ScriptedServer(ok(CHANGED));
        var second = new ScriptedServer(ok(CHANGED));
        var replicas = new Replicas(first, second);
        var client = SeqstepClient.builder(replicas.target()).plaintextAnywhere().build()) {
      waitForShares(client, List.of(5, 5), first, second);
      first.health.setStatus(SequenceStepServiceGrpc.SERVICE_NAME, ServingStatus.NOT_SERVING);
      waitForShares(client, List.of(0, 10), first, second);
      first.health.setStatus(SequenceStepServiceGrpc.SERVICE_NAME, ServingStatus.SERVING);
      waitForShares(client, List.of(5, 5), first, second);
    }
  }

  /** Returns when each server gets its share of ten calls; the test's time limits that. */
  private static void waitForShares(
      SeqstepClient client, List<Integer> shares, ScriptedServer... servers) {
    List<Integer> seen;
    do {
      for (var server : servers) {
        server.attempts.clear();
      }
      for (int i = 0; i < 10; i++) {
        client.updateStep(REQUEST, SETTINGS);
      }
      seen = Arrays.stream(servers).map(server -> server.attempts.size()).toList();
    } while (!seen.equals(shares));
  }

  @Test
  void all_attempts_share_one_deadline() throws Exception {
    try (var server = new ScriptedServer(status(Status.UNAVAILABLE, pushback("600")));
        var client = client(server)) {
      long began = System.nanoTime();
      var failure =
          assertThrows(
              SeqstepException.class,
              () -> client.updateStep(REQUEST, SETTINGS.withDeadline(Duration.ofMillis(1000))));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, failure.status().getCode());
      assertTrue(System.nanoTime() - began < 5e9);
      assertEquals(2, server.attempts.size());
    }
  }

  @Test
  void a_call_is_cancelled_by_its_context_and_not_repeated() throws Exception {
    var arrived = new CountDownLatch(1);
    try (var server = new ScriptedServer(caller -> arrived.countDown());
        var client = client(server);
        var context = Context.current().withCancellation()) {
      var failure =
          CompletableFuture.supplyAsync(
              () ->
                  context.wrap(
                      () ->
                          assertThrows(
                              SeqstepException.class, () -> client.updateStep(REQUEST, SETTINGS))));
      var cancelled = CompletableFuture.supplyAsync(() -> call(failure.join()));
      assertTrue(arrived.await(10, TimeUnit.SECONDS));
      context.cancel(null);
      assertEquals(Status.Code.CANCELLED, cancelled.get(10, TimeUnit.SECONDS).status().getCode());
      assertEquals(Outcome.UNKNOWN, cancelled.get().outcome());
      assertEquals(1, server.attempts.size());
    }
  }

  private static <T> T call(java.util.concurrent.Callable<T> callable) {
    try {
      return callable.call();
    } catch (Exception e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void the_key_leaves_this_machine_by_tls_alone() throws Exception {
    try (var socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        var client =
            SeqstepClient.builder("127.0.0.1:" + socket.getLocalPort()).apiKey("the-key").build()) {
      var received =
          CompletableFuture.supplyAsync(
              () ->
                  call(
                      () -> {
                        try (var connection = socket.accept()) {
                          byte[] bytes = new byte[1 << 16];
                          return Arrays.copyOf(bytes, connection.getInputStream().read(bytes));
                        }
                      }));
      var failure =
          assertThrows(
              SeqstepException.class,
              () -> client.updateStep(REQUEST, SETTINGS.withDeadline(Duration.ofSeconds(2))));
      assertEquals(Outcome.UNKNOWN, failure.outcome());
      byte[] first = received.get(10, TimeUnit.SECONDS);
      assertEquals(22, first[0], "the first record of a TLS handshake");
      assertFalse(new String(first, StandardCharsets.ISO_8859_1).contains("the-key"));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"example.com:443", "10.0.0.1:50051", "127.0.0.1.example.com:1", "localhost.x:1"})
  void plaintext_beyond_this_machine_wants_a_word_of_its_own(String target) {
    var builder = SeqstepClient.builder(target).plaintextOnLoopback();
    assertThrows(IllegalArgumentException.class, builder::build);
    SeqstepClient.builder(target).plaintextAnywhere().build().close();
  }

  @Test
  void an_authority_that_cannot_be_read_is_an_error(@TempDir Path folder) throws Exception {
    var builder = SeqstepClient.builder("localhost:1");
    File none = folder.resolve("none.pem").toFile();
    assertThrows(IOException.class, () -> builder.trust(none));
    Path garbage = Files.writeString(folder.resolve("garbage.pem"), "no certificate");
    builder.trust(garbage.toFile());
    assertThrows(IllegalArgumentException.class, builder::build);
  }

  @Test
  void plaintext_has_no_use_for_certificates(@TempDir Path folder) throws Exception {
    Path ca = Files.writeString(folder.resolve("ca.pem"), "");
    var builder = SeqstepClient.builder("localhost:1").trust(ca.toFile()).plaintextOnLoopback();
    assertThrows(IllegalArgumentException.class, builder::build);
  }
}
