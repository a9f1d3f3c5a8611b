// What the clients have in common: what a call carries, when it is repeated, and what is made of its answer. It runs in
// browsers too.
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";

import { errorsOf, SeqstepError, type Answer } from "./failure.js";
import { SequenceStepService } from "./gen/engagement/v1/sequence_step_service_pb.js";
import { Retries, Throttle } from "./retry.js";

export const VERSION = "0.1.0";
export const USER_AGENT = `seqstep-typescript/${VERSION}`;

/** The service's own deadline, too. */
const DEFAULT_TIMEOUT_MS = 30_000;

export interface ClientOptions {
  /** The key of the calling application; a client certificate can stand for it. */
  apiKey?: string | undefined;
  /** No TLS: to a service on this machine, or, where the key and the texts can be read on the way, anywhere. */
  plaintext?: "loopback" | "anywhere" | undefined;
}

type Metadata = readonly (readonly [name: string, value: string])[];

export interface CallOptions {
  /** Your own id of the customer, and the provider. Calls of ConnectionService have them in their requests. */
  customerId?: string | undefined;
  provider?: string | undefined;
  /** An id of your own, by which the service's log, its history and its answers name the call; a new one unless given. */
  requestId?: string | undefined;
  /** Further metadata. An `x-api-key` stands in the place of the client's own. */
  metadata?: Metadata | undefined;
  /** How long the call may take, all attempts together. 30 seconds unless given. */
  timeoutMs?: number | undefined;
  /** Cancels the call; that the step was left alone is then not known. */
  signal?: AbortSignal | undefined;
  /** Is given the trailing metadata of the call, however it ended. */
  onTrailers?: ((trailers: ReadonlyMap<string, string>) => void) | undefined;
}

/** A unary method with the types of its messages. */
export type Method<I extends DescMessage = DescMessage, O extends DescMessage = DescMessage> = DescMethodUnary<I, O>;

/** One attempt of a call as a transport makes it. */
export interface Attempt {
  method: Method;
  request: Message;
  metadata: Metadata;
  /** To be sent over TLS, unless plaintext was asked for; none if the metadata names one. */
  apiKey: string | undefined;
  /** What is left of the call's time; more than nothing. */
  timeoutMs: number;
  signal: AbortSignal | undefined;
}

/** Calls the service. Keep one for all calls, and close it in the end. */
export abstract class SeqstepClient implements Disposable {
  readonly #apiKey: string | undefined;
  readonly #throttle = new Throttle();

  protected constructor(options: ClientOptions) {
    this.#apiKey = options.apiKey;
  }

  /** Changes a step; the `outcome` of the SeqstepError that a failure is says what became of it. */
  updateStep(request: MessageInitShape<typeof SequenceStepService.method.updateStep.input>, options: CallOptions) {
    return this.call(SequenceStepService.method.updateStep, request, options);
  }

  /** Takes a change back, as an update that sets what was before; fails as one. */
  revertStepChange(
    request: MessageInitShape<typeof SequenceStepService.method.revertStepChange.input>,
    options: CallOptions,
  ) {
    return this.call(SequenceStepService.method.revertStepChange, request, options);
  }

  /** Reads a step. */
  getStep(request: MessageInitShape<typeof SequenceStepService.method.getStep.input>, options: CallOptions) {
    return this.call(SequenceStepService.method.getStep, request, options);
  }

  /** Reads a sequence and its steps. */
  listSteps(request: MessageInitShape<typeof SequenceStepService.method.listSteps.input>, options: CallOptions) {
    return this.call(SequenceStepService.method.listSteps, request, options);
  }

  /**
   * Calls any method, such as those of ConnectionService.
   *
   * @throws SeqstepError The call ended with another status than OK, or with errors.
   * @throws TypeError A text ends in the middle of a character, or metadata cannot be sent; nothing was sent.
   */
  async call<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const metadata = metadataOf(options);
    const { signal } = options;
    const message = create(method.input, request);
    checkTexts(message);
    const answer: Answer = signal?.aborted
      ? { status: "CANCELLED", message: "cancelled before it began", trailers: new Map(), cause: signal.reason }
      : await this.#repeat({
          method,
          request: message,
          metadata,
          apiKey: find(metadata, "x-api-key") === undefined ? this.#apiKey : undefined,
          timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
          signal,
        });
    options.onTrailers?.(answer.trailers);
    if (answer.status !== "OK" || !answer.response || errorsOf(answer.response).length > 0) {
      throw new SeqstepError(method, answer, find(metadata, "x-request-id") ?? "");
    }
    return answer.response as MessageShape<O>;
  }

  /** Makes the attempts of a call, within one deadline. */
  async #repeat(call: Attempt): Promise<Answer> {
    const { signal } = call;
    const deadline = performance.now() + call.timeoutMs;
    const retries = new Retries(this.#throttle);
    for (let attempts = 1; ; attempts++) {
      const metadata = [...call.metadata];
      if (attempts > 1) {
        metadata.push(["grpc-previous-rpc-attempts", `${attempts - 1}`]);
      }
      const timeoutMs = Math.max(1, deadline - performance.now());
      const { answer, committed } = await this.attempt({ ...call, metadata, timeoutMs });
      const waitMs = signal?.aborted ? undefined : retries.after(answer, attempts, committed);
      if (waitMs === undefined) {
        return answer;
      }
      const leftMs = Math.max(0, deadline - performance.now());
      try {
        await sleep(Math.min(waitMs, leftMs), signal);
      } catch (cause) {
        return { ...answer, status: "CANCELLED", message: "cancelled between two attempts", cause };
      }
      if (waitMs >= leftMs) {
        return { ...answer, status: "DEADLINE_EXCEEDED", message: `the last attempt: ${answer.status}` };
      }
    }
  }

  /**
   * Makes one attempt. Always settles, and rejects for nothing that a server does.
   *
   * @returns How it ended, and whether its response had begun: then it is the answer, whatever it is.
   */
  protected abstract attempt(attempt: Attempt): Promise<{ answer: Answer; committed: boolean }>;

  /** Closes the connections. */
  abstract close(): void;

  [Symbol.dispose](): void {
    this.close();
  }
}

function metadataOf({ customerId, provider, requestId, metadata = [] }: CallOptions): Metadata {
  const named: [string, string | undefined][] = [
    ["x-customer-id", customerId],
    ["x-provider-name", provider],
    // Made here, so that all attempts have the same one, and it is known where no answer comes.
    ["x-request-id", requestId ?? (find(metadata, "x-request-id") === undefined ? newId() : undefined)],
  ];
  return [...named.filter((pair): pair is [string, string] => pair[1] !== undefined), ...metadata];
}

function find(metadata: Metadata, name: string): string | undefined {
  return metadata.find(([each]) => each.toLowerCase() === name)?.[1];
}

/** Browsers have `randomUUID` only where there is TLS. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Refuses texts with half a character, as of an emoji that was cut: another character would be written in its place. */
function checkTexts(value: unknown, path = "request"): void {
  if (typeof value === "string") {
    if (!value.isWellFormed()) {
      throw new TypeError(`${path} has half a character`);
    }
  } else if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
    for (const [name, member] of Object.entries(value)) {
      checkTexts(name, `a name in ${path}`);
      checkTexts(member, `${path}.${name}`);
    }
  }
}

/** Refuses plaintext that would leave this machine and is not meant to. */
export function checkPlaintext(address: string, plaintext: ClientOptions["plaintext"]): void {
  if (plaintext !== "anywhere" && !isLoopback(address)) {
    throw new TypeError(`plaintext would leave this machine: ${address}`);
  }
}

/** Whether HOST:PORT is on this machine for certain. */
export function isLoopback(address: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/.test(address);
}

/** Waits; rejects with the signal's reason when it is given. */
function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- whatever its owner gave it
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}
