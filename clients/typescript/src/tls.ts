// How the clients of Node.js reach the service: TLS, unless plaintext is asked for.
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";

import { checkPlaintext, type ClientOptions } from "./client.js";

export interface NodeClientOptions extends ClientOptions {
  /** A PEM file with the authorities to trust, in the place of Node's own. */
  caFile?: string | undefined;
  /** A client certificate: its chain and its private key, PEM files. */
  certificateFile?: string | undefined;
  keyFile?: string | undefined;
}

/** Certificates, in PEM. */
export interface Tls {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
}

/**
 * The certificates of a channel to HOST:PORT, or undefined for plaintext.
 *
 * @throws A file cannot be read or is no certificate; plaintext would leave this machine, or come with certificates.
 */
export function tlsOf(address: string, options: NodeClientOptions): Tls | undefined {
  const { caFile, certificateFile, keyFile, plaintext } = options;
  if (plaintext) {
    if (caFile !== undefined || certificateFile !== undefined || keyFile !== undefined) {
      throw new TypeError("plaintext has no use for certificates");
    }
    checkPlaintext(address, plaintext);
    return undefined;
  }
  if ((certificateFile === undefined) !== (keyFile === undefined)) {
    throw new TypeError("a client certificate is a chain and a key");
  }
  return {
    ...(caFile !== undefined && { ca: certificates(caFile) }),
    ...(certificateFile !== undefined && { cert: certificates(certificateFile) }),
    ...(keyFile !== undefined && { key: readFileSync(keyFile) }),
  };
}

function certificates(file: string): Buffer {
  const pem = readFileSync(file);
  // Node takes a file without any for an authority that vouches for nobody.
  new X509Certificate(pem);
  return pem;
}
