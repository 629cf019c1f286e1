import { type Clock, classifyIp, type Logger, type Millis, SocketAddress } from "@adit/core";
import { explainPortMap, type LocalCandidateInit, PortMapping, type PortMapReport } from "@adit/ice";
import { localAddresses } from "../interfaces.ts";
import type { PortMappingStatus } from "../status.ts";
import { type BoundSocket, isWildcard } from "./own-candidates.ts";

export interface MappedPortOptions {
  readonly socket: BoundSocket;
  /** What the router's list of mappings shows. */
  readonly description: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** A mapping that the world can reach was made, became another, or is gone. */
  readonly onCandidate: (now: Millis) => void;
  /** The router has started anew, and forgotten all that it translated. */
  readonly onRestart: (now: Millis) => void;
}

/**
 * The router's port that leads to the program's IPv4 socket: a server-reflexive candidate that the NAT lets everybody in at. IPv6 needs
 * none: without translation a firewall is opened by sending.
 */
export class MappedPort {
  readonly #options: MappedPortOptions;
  readonly #mapping: PortMapping;
  #report: PortMapReport;

  /** Null where there is nothing to map: no IPv4 socket, or one on loopback. */
  static of(sockets: readonly BoundSocket[], options: Omit<MappedPortOptions, "socket">): MappedPort | null {
    const socket = sockets.find(({ address }) => address.family === 4 && classifyIp(address.ip) !== "loopback");
    return socket ? new MappedPort({ ...options, socket }) : null;
  }

  private constructor(options: MappedPortOptions) {
    this.#options = options;
    const { socket, description, clock, log } = options;
    this.#mapping = new PortMapping({
      internalPort: socket.address.port,
      ...(isWildcard(socket.address) ? {} : { boundIp: socket.address.ip }),
      description,
      clock,
      log,
      onRestart: () => options.onRestart(clock.now()),
      onChange: (report) => {
        const was = this.candidate?.address.key;
        this.#report = report;
        if (this.candidate?.address.key !== was) options.onCandidate(clock.now());
      },
    });
    this.#report = this.#mapping.report;
  }

  get candidate(): LocalCandidateInit | null {
    const { lease } = this.#report;
    if (!lease?.isPublic) return null;
    const { id, address } = this.#options.socket;
    const ip = isWildcard(address) ? localAddresses({ family: 4 })[0]?.ip : address.ip;
    const base = SocketAddress.of(ip ?? address.ip, address.port);
    const server = SocketAddress.of(lease.gateway, 0);
    return { type: "srflx", address: lease.external, base, related: base, socket: id, server };
  }

  get status(): PortMappingStatus {
    const { gateway, lease } = this.#report;
    return {
      gateway,
      protocol: lease?.protocol ?? null,
      external: lease?.external ?? null,
      public: lease?.isPublic ?? null,
      reason: explainPortMap(this.#report),
    };
  }

  /** The network may have changed. */
  refresh(): void {
    this.#mapping.refresh();
  }

  /** Gives the mapping back; takes a second at most. */
  close(): Promise<void> {
    return this.#mapping.close();
  }
}
