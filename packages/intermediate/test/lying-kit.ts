/** An intermediate that was taken over: the real one, whose rendezvous says and hears what the attacker wants. */
import { type Millis, nullLogger, SocketAddress } from "@adit/core";
import type { T } from "@adit/harness";
import { Identity, type QuicStream } from "@adit/quic";
import type { IntermediateMessage, SessionMessage, SignaledCandidate } from "@adit/signaling";
import { bindUdp, type Endpoint, type Incoming, startEndpoint } from "@adit/transport";
import { Intermediate } from "../src/server.ts";
import type { ConnectionId } from "../src/session-table.ts";

export const SECRET = "the secret that only the two peers may know";

interface Attack {
  /** What is sent instead, to whom; null for nothing. */
  says?(message: IntermediateMessage, to: ConnectionId): { message: IntermediateMessage; to: ConnectionId } | null;
  /** Whom a message is taken to come from. */
  hears?(from: ConnectionId, message: SessionMessage): ConnectionId;
}

export class Stage {
  readonly agentKey = Identity.generate();
  readonly officeKey = Identity.generate();
  readonly evilKey = Identity.generate();
  attack: Attack = {};
  /** Services that were handed a stream, by who serves. */
  readonly served: string[] = [];
  readonly intermediate: Intermediate;
  readonly #connections = new Map<string, ConnectionId>();
  readonly #forged: { connection: ConnectionId; message: IntermediateMessage }[] = [];
  readonly #t: T;

  private constructor(t: T, intermediate: Intermediate) {
    this.#t = t;
    this.intermediate = intermediate;
    const { rendezvous } = intermediate.signaling;
    const hello = rendezvous.handleHello.bind(rendezvous);
    rendezvous.handleHello = (client) => {
      this.#connections.set(client.peerId, client.connection);
      hello(client);
    };
    const poll = rendezvous.pollOutput.bind(rendezvous);
    const handle = rendezvous.handleMessage.bind(rendezvous);
    rendezvous.handleMessage = (now: Millis, from, message) =>
      handle(now, this.attack.hears?.(from, message) ?? from, message);
    rendezvous.pollOutput = () => {
      const forged = this.#forged.shift();
      if (forged) return { type: "send", ...forged };
      for (let output = poll(); output; output = poll()) {
        if (output.type !== "send" || !this.attack.says) return output;
        const lie = this.attack.says(output.message, output.connection);
        if (lie) return { type: "send", connection: lie.to, message: lie.message };
      }
      return null;
    };
  }

  static async start(t: T): Promise<Stage> {
    const intermediate = await Intermediate.start({
      identity: Identity.generate(),
      listen: [SocketAddress.of("127.0.0.1", 0)],
      stun: [SocketAddress.of("127.0.0.1", 0)],
      relayPorts: { first: 30_000, last: 39_999 },
      allowPrivateRelay: true,
      realm: "adit",
    });
    t.teardown(() => intermediate.close());
    return new Stage(t, intermediate);
  }

  connector(identity: Identity, name: string, ip: string, admit: (peerId: string) => boolean): Promise<Endpoint> {
    return this.#endpoint({
      identity,
      role: "connector",
      name,
      bind: { ip, port: 0 },
      admit,
      onService: (request) => {
        this.served.push(name);
        void Promise.resolve(request.accept()).then(echo);
      },
    });
  }

  agent(identity: Identity, ip: string): Promise<Endpoint> {
    return this.#endpoint({ identity, role: "agent", bind: { ip, port: 0 } });
  }

  async #endpoint(
    o: Omit<Parameters<typeof startEndpoint>[0], "intermediate" | "checkIntermediate" | "log">,
  ): Promise<Endpoint> {
    const { ip: host, port } = this.intermediate.signalingAddress;
    const endpoint = await startEndpoint({
      ...o,
      intermediate: { host, port },
      checkIntermediate: () => null,
      log: nullLogger,
    });
    this.#t.teardown(() => endpoint.close("the test is over"));
    await endpoint.waitRegistered();
    return endpoint;
  }

  /** The signaling connection of a key. */
  connectionOf(identity: Identity): ConnectionId {
    const connection = this.#connections.get(identity.peerId);
    if (connection === undefined) throw new Error("it never said Hello");
    return connection;
  }

  /** Says something that nobody asked for. */
  forge(connection: ConnectionId, message: IntermediateMessage): void {
    this.#forged.push({ connection, message });
    this.intermediate.handleNamesChanged(); // nothing has; but what waits is delivered
  }
}

function echo(stream: QuicStream): void {
  void stream.readable.pipeTo(stream.writable).catch(() => {});
}

export async function exchange(stream: QuicStream, text: string): Promise<string> {
  const writer = stream.writable.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  return new Response(stream.readable).text();
}

/** Somebody who has nothing to do with it, on a port of all addresses 127.9.x.y, and what he was sent, by the sender's IP. */
export async function victim(
  t: T,
): Promise<{ candidates(count: number): SignaledCandidate[]; from(ip: string): Uint8Array[] }> {
  const received = new Map<string, Uint8Array[]>();
  const onBatch = (batch: readonly Incoming[]) => {
    for (const { data, from } of batch) received.set(from.ip, [...(received.get(from.ip) ?? []), data.slice()]);
  };
  const address = SocketAddress.of("0.0.0.0", 0);
  const socket = await bindUdp({ address, handlers: { onBatch, onDrain: () => {} } });
  t.teardown(() => socket.close());
  let next = 0;
  const candidate = (): SignaledCandidate => {
    const number = next++;
    return {
      foundation: `v${number}`,
      component: 1,
      transport: "udp",
      priority: 0x7fffff00 - number,
      address: SocketAddress.of(`127.9.${number >> 8}.${number & 255}`, socket.address.port),
      type: "host",
      related: null,
    };
  };
  return {
    candidates: (count) => Array.from({ length: count }, candidate),
    from: (ip) => received.get(ip) ?? [],
  };
}
