import { type Deadline, earliest, monotonicClock, SocketAddress, systemRandom, type Transmit } from "@adit/core";
import { Identity, QuicConfig, type QuicConnection, QuicEndpoint, type QuicStream } from "@adit/quic";
import { type IntermediateMessage, SIGNALING_ALPN, SignalingServerConnection } from "@adit/signaling";
import { Driver, type DriverComponent } from "../src/driver.ts";

interface Client {
  readonly connection: QuicConnection;
  readonly remote: SocketAddress;
  signaling: SignalingServerConnection | null;
  stream: QuicStream | null;
  name: string | null;
  pending: Uint8Array[];
}

/** Introduces peers like the real one, without a relay and without rules: for tests of endpoints alone. */
export class FakeIntermediate implements DriverComponent {
  readonly identity = Identity.generate();
  readonly log: string[] = [];
  readonly #driver = new Driver();
  readonly #clients = new Set<Client>();
  readonly #sessions = new Map<bigint, { agent: Client; connector: Client }>();
  readonly #quic = new QuicEndpoint({
    random: systemRandom,
    server: QuicConfig.create({
      role: "server",
      identity: this.identity,
      alpn: SIGNALING_ALPN,
      maxIdleTimeoutMs: 30_000,
    }),
  });
  #socket = 0;

  static async start(address = "127.0.0.1", port = 0): Promise<FakeIntermediate> {
    const fake = new FakeIntermediate();
    fake.#socket = await fake.#driver.bind({
      address: SocketAddress.of(address, port),
      receive: (now, _socket, batch) => {
        for (const { data, from } of batch) fake.#receive(now, data, from);
      },
    });
    fake.#driver.add(fake);
    return fake;
  }

  get address(): SocketAddress {
    return this.#driver.sockets.get(this.#socket)?.address as SocketAddress;
  }

  close(): void {
    for (const client of this.#clients) client.connection.close(0, "shutdown");
    this.#driver.close();
  }

  handleTimeout(now: number): void {
    for (const { connection, signaling } of this.#clients) {
      if ((connection.pollTimeout(now)?.at ?? Infinity) <= now) connection.handleTimeout(now);
      signaling?.handleTimeout(now);
    }
  }

  pollTimeout(): Deadline | null {
    let next: Deadline | null = null;
    for (const { connection, signaling } of this.#clients) {
      next = earliest(next, connection.pollTimeout(monotonicClock.now()));
      if (signaling) next = earliest(next, signaling.pollTimeout());
    }
    return next;
  }

  pollTransmit(): Transmit | null {
    for (const client of this.#clients) {
      const out = new Uint8Array(1500);
      const sent = client.connection.send(out);
      if (sent) return { data: out.subarray(0, sent.length), socket: this.#socket, to: client.remote };
    }
    return null;
  }

  drain(now: number): void {
    for (const client of this.#clients) {
      for (let event = client.connection.pollEvent(); event; event = client.connection.pollEvent()) {
        if (event.type === "established") {
          client.signaling = new SignalingServerConnection({
            now,
            peerId: event.peerId,
            observed: client.remote,
            welcome: { peerId: this.identity.peerId, turn: null },
            random: systemRandom,
          });
        }
        if (event.type === "stream") {
          client.stream = event.stream;
          event.stream.onReadable = () => this.#driver.wake();
          event.stream.onWritable = () => this.#driver.wake();
        }
        if (event.type === "closed") this.#clients.delete(client);
      }
      this.#pumpClient(now, client);
    }
  }

  #pumpClient(now: number, client: Client): void {
    const { signaling, stream } = client;
    if (!signaling || !stream) return;
    const buffer = new Uint8Array(16_384);
    try {
      for (let read = stream.read(buffer); typeof read === "number"; read = stream.read(buffer)) {
        signaling.handleData(now, buffer.subarray(0, read));
      }
    } catch {
      return;
    }
    for (let event = signaling.pollEvent(); event; event = signaling.pollEvent()) {
      if (event.type === "message") this.#handleMessage(client, signaling, event.message as never);
    }
    for (const other of this.#clients) this.#write(other);
  }

  #write({ signaling, stream, pending }: Client): void {
    if (!signaling || !stream) return;
    for (let bytes = signaling.pollBytes(); bytes; bytes = signaling.pollBytes()) pending.push(bytes);
    for (let head = pending[0]; head; head = pending[0]) {
      const taken = stream.write(head);
      if (taken < head.length) {
        pending[0] = head.subarray(taken);
        return;
      }
      pending.shift();
    }
  }

  #handleMessage(
    from: Client,
    signaling: SignalingServerConnection,
    message: { readonly type: string } & Record<string, unknown>,
  ): void {
    this.log.push(message.type);
    const answer = (reply: IntermediateMessage): void => void signaling.send(reply);
    if (message.type === "register") {
      from.name = message.name as string;
      return answer({ type: "registered", requestId: message.requestId as bigint, name: from.name });
    }
    const sessionId = message.sessionId as bigint;
    if (message.type === "connect") {
      const connector = [...this.#clients].find(
        (client) => client.name !== null && [client.name, client.signaling?.peerId].includes(message.target as string),
      );
      if (!connector?.signaling) {
        const sentence = `nobody is registered as ${String(message.target)}`;
        return answer({ type: "error", code: "not-found", message: sentence, sessionId, requestId: null });
      }
      this.#sessions.set(sessionId, { agent: from, connector });
      const { peerId, observed } = connector.signaling;
      answer({ type: "connected", sessionId, peerId, name: connector.name, peerObserved: observed });
      connector.signaling.send({
        type: "incoming",
        sessionId,
        peerId: signaling.peerId,
        peerObserved: signaling.observed,
      });
      return;
    }
    const session = this.#sessions.get(sessionId);
    const other = session && (session.agent === from ? session.connector : session.agent);
    if (message.type !== "punching-result") other?.signaling?.send(message as unknown as IntermediateMessage);
  }

  #receive(now: number, data: Uint8Array, from: SocketAddress): void {
    const local = { host: this.address.ip, port: this.address.port };
    const remote = { host: from.ip, port: from.port };
    const route = this.#quic.route(data);
    if (route.kind === "connection") return route.connection.recv(now, data, local, remote);
    if (route.kind !== "initial") return;
    const connection = this.#quic.accept(now, route.header, local, remote);
    if (!connection) return;
    connection.onWork = () => this.#driver.wake();
    this.#clients.add({ connection, remote: from, signaling: null, stream: null, name: null, pending: [] });
    connection.recv(now, data, local, remote);
  }
}
