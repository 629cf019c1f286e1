/** The TURN server as a part of the driver: binds and closes relay sockets as it asks, and hands their datagrams to it. */
import type { Deadline, Logger, Millis, SocketAddress, SocketId, Transmit } from "@adit/core";
import { type Driver, type DriverComponent, type Incoming, UdpBindError } from "@adit/transport";
import type { RelayId } from "./allocation.ts";
import type { TurnServer } from "./turn-server.ts";

export class RelayComponent implements DriverComponent {
  readonly #turn: TurnServer;
  readonly #driver: Driver;
  readonly #log: Logger;
  readonly #sockets = new Map<RelayId, SocketId>();
  /** The latest time that the driver told. */
  #now: Millis = 0;

  constructor(turn: TurnServer, driver: Driver, log: Logger) {
    this.#turn = turn;
    this.#driver = driver;
    this.#log = log;
  }

  handleTimeout(now: Millis): void {
    this.#turn.handleTimeout(now);
  }

  pollTimeout(): Deadline | null {
    return this.#turn.pollTimeout();
  }

  pollTransmit(): Transmit | null {
    return this.#turn.pollTransmit();
  }

  flushed(): void {
    this.#turn.flushed();
  }

  drain(now: Millis): void {
    this.#now = now;
    for (let command = this.#turn.pollCommand(); command; command = this.#turn.pollCommand()) {
      if (command.type === "bind") this.#bind(command.relay, command.address);
      else this.#close(command.relay);
    }
  }

  #bind(relay: RelayId, address: SocketAddress): void {
    const receive = (now: Millis, _socket: SocketId, batch: readonly Incoming[]): void => {
      for (const { from, data } of batch) this.#turn.handleRelayDatagram(now, relay, from, data);
    };
    this.#driver
      .bind({
        address,
        receive,
        gathers: true,
        receiveError: (now, code) => this.#turn.handleRelayError(now, relay, code),
      })
      .then(
        (socket) => {
          this.#sockets.set(relay, socket);
          this.#turn.handleBound(relay, socket);
        },
        (error: unknown) => {
          const portTaken = error instanceof UdpBindError && error.code === "address-in-use";
          const reason = error instanceof Error ? error.message : String(error);
          this.#log.debug("relay-bind-error", { address: address.key, reason });
          this.#turn.handleBindFailed(this.#now, relay, reason, portTaken);
        },
      )
      .finally(() => this.#driver.wake());
  }

  #close(relay: RelayId): void {
    const socket = this.#sockets.get(relay);
    if (socket === undefined) return;
    this.#sockets.delete(relay);
    this.#driver.removeSocket(socket);
  }
}
