// When a call is repeated. Connect repeats none by itself, and @grpc/grpc-js, which can, does not wait where the service's
// `grpc-retry-pushback-ms` is no number, so this is the policy of both.
import type { Answer, StatusName } from "./failure.js";

const MAX_ATTEMPTS = 4;
const INITIAL_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 2_000;
const BACKOFF_MULTIPLIER = 2;
const MAX_TOKENS = 10;
const TOKEN_RATIO = 0.1;

/** The service was not reached, or ended the call while it stopped; every method is safe to repeat. */
const RETRYABLE: readonly StatusName[] = ["UNAVAILABLE", "CANCELLED"];

/** Of one channel: counts failures of all its calls, so that a service in trouble is spared. */
export class Throttle {
  #tokens = MAX_TOKENS;

  /** Takes note of how an attempt ended, and says whether any call may be repeated now. */
  permitsAfter(failed: boolean): boolean {
    this.#tokens = failed ? Math.max(0, this.#tokens - 1) : Math.min(MAX_TOKENS, this.#tokens + TOKEN_RATIO);
    return this.#tokens > MAX_TOKENS / 2;
  }
}

/** Of one call. */
export class Retries {
  readonly #throttle: Throttle;
  #backoffMs = INITIAL_BACKOFF_MS;

  constructor(throttle: Throttle) {
    this.#throttle = throttle;
  }

  /**
   * How long to wait before the next attempt, in milliseconds; undefined if there is none.
   *
   * @param attempts How many there were.
   * @param committed Whether the attempt's response had begun: then it is the answer, whatever it is.
   */
  after({ status, trailers }: Answer, attempts: number, committed: boolean): number | undefined {
    const pushback = trailers.get("grpc-retry-pushback-ms");
    const isRefused = pushback !== undefined && !/^\d+$/.test(pushback);
    const isRetryable = RETRYABLE.includes(status);
    if (!isRetryable && !isRefused && status !== "OK") {
      return undefined;
    }
    const isPermitted = this.#throttle.permitsAfter(status !== "OK");
    if (!isPermitted || !isRetryable || isRefused || committed || attempts >= MAX_ATTEMPTS) {
      return undefined;
    }
    if (pushback !== undefined) {
      this.#backoffMs = INITIAL_BACKOFF_MS;
      return Number(pushback);
    }
    const waitMs = this.#backoffMs * (0.8 + 0.4 * Math.random());
    this.#backoffMs = Math.min(MAX_BACKOFF_MS, this.#backoffMs * BACKOFF_MULTIPLIER);
    return waitMs;
  }
}
