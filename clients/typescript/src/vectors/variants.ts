// The two clients as the runner sees them.
import { readFileSync } from "node:fs";

import type { Message } from "@bufbuild/protobuf";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import type { Answer, Method } from "../answer.js";
import * as connect from "../connect.js";
import * as grpcJs from "../grpc-js.js";

export type Metadata = [string, string][];

export type Call = (
  method: Method,
  request: Message,
  metadata: Metadata,
  timeoutMs: number,
) => Promise<{ answer: Answer<Message>; trailers: Metadata }>;

export function caller(variant: string, address: string, caFile?: string): Call {
  switch (variant) {
    case "grpc-js":
      return callGrpcJs(address, caFile);
    case "connect":
      return callConnect(address, caFile);
    default:
      throw new Error("the variants are grpc-js and connect");
  }
}

function callGrpcJs(address: string, caFile?: string): Call {
  const channel = grpcJs.open(address, caFile);
  return async (method, request, metadata, timeoutMs) => {
    const trailers: Metadata = [];
    const answer = await grpcJs.call(channel, method, request, metadata, timeoutMs, (received) => {
      trailers.push(...Object.entries(received.getMap()).map(([name, value]): [string, string] => [name, `${value}`]));
    });
    return { answer, trailers };
  };
}

function callConnect(address: string, caFile?: string): Call {
  const baseUrl = `${caFile ? "https" : "http"}://${address}`;
  const sessionManager = new ExactMetadata(baseUrl, undefined, caFile ? { ca: readFileSync(caFile) } : undefined);
  const transport = createGrpcTransport({ baseUrl, sessionManager });
  return async (method, request, metadata, timeoutMs) => {
    const trailers: Metadata = [];
    sessionManager.metadata = metadata;
    const answer = await connect.call(transport, method, request, metadata, timeoutMs, (received) => {
      trailers.push(...received.entries());
    });
    return { answer, trailers };
  };
}

/** Sends a key that is given twice as two headers, where Connect's own Headers make one of them. */
class ExactMetadata extends Http2SessionManager {
  metadata: Metadata = [];

  override request(...[method, path, headers, options]: Parameters<Http2SessionManager["request"]>) {
    const exact = { ...headers };
    for (const [name] of this.metadata) {
      const values = this.metadata.filter(([other]) => other === name).map(([, value]) => value);
      if (values.length > 1) {
        exact[name] = values;
      }
    }
    return super.request(method, path, exact, options);
  }
}
