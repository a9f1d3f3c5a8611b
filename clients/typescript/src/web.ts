// Calling the service by gRPC-Web with Connect-ES, from browsers and whatever else has `fetch`, through a proxy that
// translates it to gRPC, such as Envoy.
import { ConnectError, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { checkPlaintext, SeqstepClient, USER_AGENT, type Attempt, type ClientOptions } from "./client.js";
import { statusName, type Answer } from "./failure.js";
import { Received } from "./received.js";

export interface WebOptions extends ClientOptions {
  /** Interceptors of all attempts, such as for tracing. */
  interceptors?: Interceptor[] | undefined;
}

/** Calls the service behind a URL, such as `https://seqstep.example.com`. */
export class WebClient extends SeqstepClient {
  readonly #baseUrl: string;
  readonly #interceptors: Interceptor[];

  /** @throws TypeError The URL is none, or has plaintext that was not asked for. */
  constructor(baseUrl: string, options: WebOptions = {}) {
    super(options);
    const { protocol, host } = new URL(baseUrl);
    if ((protocol === "https:") !== (options.plaintext === undefined)) {
      throw new TypeError(`a URL with https, or with http and plaintext: ${baseUrl}`);
    }
    if (options.plaintext !== undefined) {
      checkPlaintext(host, options.plaintext);
    }
    this.#baseUrl = baseUrl;
    this.#interceptors = options.interceptors ?? [];
  }

  protected async attempt({ method, request, metadata, apiKey, timeoutMs, signal }: Attempt) {
    const received = new WebReceived();
    const transport = createGrpcWebTransport({
      baseUrl: this.#baseUrl,
      useBinaryFormat: true,
      interceptors: this.#interceptors,
      fetch: (url, init) => received.fetch(url, init),
    });
    const header = new Headers(metadata.map(([name, value]): [string, string] => [name, value]));
    // Browsers say who they are by user-agent, and let nobody else.
    header.set("x-user-agent", USER_AGENT);
    if (apiKey !== undefined) {
      header.set("x-api-key", apiKey);
    }
    let answer: Answer;
    try {
      const { message } = await transport.unary(method, signal, Math.ceil(timeoutMs), header, request);
      answer = { status: "OK", message: "", response: message, trailers: received.trailers };
    } catch (failure) {
      const error = ConnectError.from(failure);
      answer = {
        status:
          received.status ?? (signal?.aborted ? "CANCELLED" : received.isLost ? "UNAVAILABLE" : statusName(error.code)),
        message: error.rawMessage,
        details: received.details,
        trailers: received.trailers,
        cause: failure,
      };
    }
    return { answer, committed: received.headersCame };
  }

  /** Does nothing: connections are those of `fetch`. */
  close(): void {
    return;
  }
}

const TRAILERS = 0x80;

class WebReceived extends Received {
  /** Whether there was no answer, for another reason than that nobody waits for it. */
  isLost = false;

  /** Calls the global function, takes note of the answer, and returns it without details. */
  async fetch(...[url, init]: Parameters<typeof fetch>): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(url, init);
    } catch (error) {
      this.isLost = !init?.signal?.aborted;
      throw error;
    }
    const { status } = response;
    const headers = new Headers(response.headers);
    this.take(status, headers);
    if (headers.has("grpc-status")) {
      // There is none. Once that is read, the connection is free.
      await response.arrayBuffer();
      return new Response(null, { status, headers });
    }
    if (!this.headersCame) {
      return response;
    }
    const frames = framesOf(new Uint8Array(await response.arrayBuffer()));
    const trailers = trailersIn(frames.at(-1));
    this.takeTrailer(trailers);
    const lines = [...trailers].map(([name, value]) => `${name}:${value}\r\n`).join("");
    const stripped = framed(TRAILERS, new TextEncoder().encode(lines));
    return new Response(new Blob([...frames.slice(0, -1).map(({ whole }) => whole), stripped]), { status, headers });
  }
}

interface Frame {
  flags: number;
  content: Uint8Array<ArrayBuffer>;
  whole: Uint8Array<ArrayBuffer>;
}

/** The frames of a response: a message, unless the call failed, and trailers. */
function framesOf(body: Uint8Array<ArrayBuffer>): Frame[] {
  const frames: Frame[] = [];
  for (let begin = 0; begin < body.length;) {
    const end = begin + 5 + (begin + 5 > body.length ? 0 : new DataView(body.buffer).getUint32(begin + 1));
    if (end > body.length) {
      throw new Error("the response breaks off");
    }
    frames.push({ flags: body[begin] ?? 0, content: body.subarray(begin + 5, end), whole: body.subarray(begin, end) });
    begin = end;
  }
  if (frames.some(({ flags }, index) => flags >= TRAILERS !== (index === frames.length - 1))) {
    throw new Error("the response does not end with trailers");
  }
  return frames;
}

function trailersIn(frame: Frame | undefined): Headers {
  if (frame?.flags !== TRAILERS) {
    throw new Error("the response has no trailers that can be read");
  }
  const lines = new TextDecoder().decode(frame.content).split("\r\n");
  // What is no header name or value throws.
  return new Headers(lines.filter(Boolean).map((line) => splitOnce(line)));
}

function splitOnce(line: string): [name: string, value: string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon), line.slice(colon + 1).trim()];
}

function framed(flags: number, content: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(5 + content.length);
  frame.set([flags]);
  new DataView(frame.buffer).setUint32(1, content.length);
  frame.set(content, 5);
  return frame;
}
