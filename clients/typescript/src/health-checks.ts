// Health checks of @grpc/grpc-js, which knows no `healthCheckConfig`: a server gets calls only while it says SERVING, as
// https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md has it. Made with what grpc-js exports for
// load balancing policies, which may change with each minor version.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, connectivityState, credentials, experimental, status, type ClientReadableStream } from "@grpc/grpc-js";

import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
  type HealthCheckResponse,
} from "./gen/grpc/health/v1/health_pb.js";

const POLICY = "seqstep_health_checks";
const MAX_BACKOFF_MS = 5_000;

/** A load balancing policy by its name, with its configuration. */
type Policy = Record<string, object>;

/** The configuration of a load balancing policy, such as round_robin, that passes over servers which do not serve. */
export function withHealthChecks(serviceName: string, childPolicy: Policy): Policy {
  if (!experimental.isLoadBalancerNameRegistered(POLICY)) {
    experimental.registerLoadBalancerType(POLICY, HealthCheckingLoadBalancer, HealthChecksConfig);
  }
  return { [POLICY]: { serviceName, childPolicy } };
}

class HealthChecksConfig implements experimental.TypedLoadBalancingConfig {
  constructor(
    readonly serviceName: string,
    readonly child: experimental.TypedLoadBalancingConfig,
  ) {}

  static createFromJson(json: { serviceName: string; childPolicy: Policy }): HealthChecksConfig {
    return new HealthChecksConfig(json.serviceName, experimental.parseLoadBalancingConfig(json.childPolicy));
  }

  getLoadBalancerName(): string {
    return POLICY;
  }

  toJsonObject(): object {
    return { [POLICY]: { serviceName: this.serviceName, childPolicy: this.child.toJsonObject() } };
  }
}

/** Gives the child's policy subchannels that are as healthy as their servers say. */
class HealthCheckingLoadBalancer implements experimental.LoadBalancer {
  readonly #child: experimental.ChildLoadBalancerHandler;
  #serviceName = "";

  constructor(helper: experimental.ChannelControlHelper) {
    this.#child = new experimental.ChildLoadBalancerHandler(
      experimental.createChildChannelControlHelper(helper, {
        createSubchannel: (address, options) =>
          new CheckedSubchannel(helper.createSubchannel(address, options), this.#serviceName),
        updateState: (state, picker, errorMessage) => {
          helper.updateState(state, unwrapping(picker), errorMessage);
        },
      }),
    );
  }

  updateAddressList(...[endpoints, config, options, note]: Parameters<experimental.LoadBalancer["updateAddressList"]>) {
    if (!(config instanceof HealthChecksConfig)) {
      return false;
    }
    this.#serviceName = config.serviceName;
    return this.#child.updateAddressList(endpoints, config.child, options, note);
  }

  exitIdle(): void {
    this.#child.exitIdle();
  }

  resetBackoff(): void {
    this.#child.resetBackoff();
  }

  destroy(): void {
    this.#child.destroy();
  }

  getTypeName(): string {
    return POLICY;
  }
}

/** Who wraps subchannels unwraps what is picked. */
function unwrapping(picker: experimental.Picker): experimental.Picker {
  return {
    pick: (args) => {
      const picked = picker.pick(args);
      return picked.subchannel instanceof CheckedSubchannel
        ? { ...picked, subchannel: picked.subchannel.unwrapped }
        : picked;
    },
  };
}

/**
 * A subchannel that watches the health of its server while it is connected. It is READY only after the first answer, so that
 * calls wait for that, and from then on healthy or not.
 */
class CheckedSubchannel extends experimental.BaseSubchannelWrapper {
  readonly #serviceName: string;
  readonly #listeners = new Set<experimental.ConnectivityStateListener>();
  readonly #backoff = new experimental.BackoffTimeout(
    () => {
      this.#watch();
    },
    { maxDelay: MAX_BACKOFF_MS },
  );
  #isFollowed = false;
  #state: connectivityState;
  #keepaliveMs = 0;
  #watching: ClientReadableStream<HealthCheckResponse> | undefined;

  constructor(child: experimental.SubchannelInterface, serviceName: string) {
    super(child);
    this.#serviceName = serviceName;
    this.#state = unchecked(child.getConnectivityState());
  }

  get unwrapped(): experimental.SubchannelInterface {
    return this.child;
  }

  override ref(): void {
    super.ref();
    if (!this.#isFollowed) {
      this.#isFollowed = true;
      this.child.addConnectivityStateListener(this.#follow);
      this.#state = unchecked(this.child.getConnectivityState());
      this.#watch();
    }
  }

  protected override destroy(): void {
    this.#isFollowed = false;
    this.child.removeConnectivityStateListener(this.#follow);
    this.#stop();
    super.destroy();
  }

  override getConnectivityState(): connectivityState {
    return this.#state;
  }

  override addConnectivityStateListener(listener: experimental.ConnectivityStateListener): void {
    this.#listeners.add(listener);
  }

  override removeConnectivityStateListener(listener: experimental.ConnectivityStateListener): void {
    this.#listeners.delete(listener);
  }

  /** Takes note of the state of the connection. */
  readonly #follow: experimental.ConnectivityStateListener = (_child, _before, state, keepaliveMs, errorMessage) => {
    this.#keepaliveMs = keepaliveMs;
    this.#stop();
    this.#become(unchecked(state), errorMessage);
    this.#watch();
  };

  #become(state: connectivityState, errorMessage?: string): void {
    const before = this.#state;
    if (state !== before) {
      this.#state = state;
      for (const listener of [...this.#listeners]) {
        listener(this, before, state, this.#keepaliveMs, errorMessage);
      }
    }
  }

  #watch(): void {
    if (!this.#isFollowed || this.child.getConnectivityState() !== connectivityState.READY) {
      return;
    }
    const channel = new Client("unused", credentials.createInsecure(), { channelOverride: this.child.getChannel() });
    const watching = channel.makeServerStreamRequest(
      `/${Health.typeName}/${Health.method.watch.name}`,
      (request) => Buffer.from(toBinary(Health.method.watch.input, request)),
      (bytes) => fromBinary(Health.method.watch.output, bytes),
      create(HealthCheckRequestSchema, { service: this.#serviceName }),
    );
    this.#watching = watching;
    watching.on("data", (response: HealthCheckResponse) => {
      if (this.#watching === watching) {
        this.#backoff.reset();
        this.#take(response.status === ServingStatus.SERVING);
      }
    });
    watching.on("status", ({ code }: { code: status }) => {
      if (this.#watching === watching) {
        this.#watching = undefined;
        if (code === status.UNIMPLEMENTED) {
          // Without health checks every server counts as healthy.
          this.#take(true);
        } else {
          this.#take(false);
          this.#backoff.runOnce();
        }
      }
    });
    watching.on("error", () => {
      // The status has come, too.
    });
  }

  #take(isHealthy: boolean): void {
    this.setHealthy(isHealthy);
    this.#become(connectivityState.READY);
  }

  #stop(): void {
    const watching = this.#watching;
    this.#watching = undefined;
    watching?.cancel();
    this.#backoff.stop();
    this.#backoff.reset();
  }
}

/** What a connection counts as before its server's health is known. */
function unchecked(state: connectivityState): connectivityState {
  return state === connectivityState.READY ? connectivityState.CONNECTING : state;
}
