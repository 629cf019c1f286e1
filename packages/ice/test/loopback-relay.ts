/** A STUN and TURN server on 127.0.0.1, over UDP, TCP and TLS: just enough of RFC 8489 and RFC 8656 for the driver's tests. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server, type Socket as TcpSocket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { SocketAddress } from "@adit/core";
import { getBytes, getChannelNumber, getU32, getXorAddress } from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { longTermKey, verifyIntegrity } from "../src/stun/integrity.ts";
import { decodeStun, type StunClass, type StunMessage } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";
import { channelNumberOf, channelPayload, isChannelData, wrapChannelData } from "../src/turn/channel-data.ts";
import { frameForStream, StreamDeframer } from "../src/turn/stream-framing.ts";

/** A client or a peer that is gone answers with ICMP, which some runtimes report as an error of the socket. */
const ignore = (): void => {};

/** Where requests come from and answers go to. */
interface Client {
  readonly address: SocketAddress;
  /** Tells one of UDP from one of TCP. */
  readonly key: string;
  send(data: Uint8Array): void;
}

interface Allocation {
  readonly client: Client;
  readonly socket: Socket;
  readonly permissions: Set<string>;
  readonly channels: Map<number, SocketAddress>;
}

export class LoopbackRelay {
  readonly username = "user";
  readonly password = "pass";
  readonly #socket = createSocket("udp4");
  readonly #key = longTermKey("user", "test", "pass");
  readonly #allocations = new Map<string, Allocation>();
  readonly #servers: Server[] = [];
  readonly #streams = new Set<TcpSocket>();
  /** Datagrams relayed to peers. */
  relayed = 0;
  released = 0;

  static async start(): Promise<LoopbackRelay> {
    const relay = new LoopbackRelay();
    relay.#socket.on("error", ignore);
    relay.#socket.on("message", (data, from) => {
      const address = SocketAddress.of(from.address, from.port);
      const send = (answer: Uint8Array) => relay.#socket.send(answer, from.port, from.address);
      void relay.#handle(data, { address, key: address.key, send });
    });
    relay.#socket.bind(0, "127.0.0.1");
    await once(relay.#socket, "listening");
    return relay;
  }

  /** Serves TCP too, or TLS; resolves with the port. */
  async listen(tls: TlsOptions | null = null): Promise<number> {
    const serve = (socket: TcpSocket): void => this.#serve(socket);
    const server = tls ? createTlsServer(tls, serve) : createServer(serve);
    this.#servers.push(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const bound = server.address();
    return typeof bound === "object" && bound ? bound.port : 0;
  }

  /** Hangs up on everybody who came by TCP or TLS. */
  hangUp(): void {
    for (const stream of this.#streams) stream.destroy();
  }

  get streams(): number {
    return this.#streams.size;
  }

  #serve(socket: TcpSocket): void {
    const address = SocketAddress.of(socket.remoteAddress ?? "127.0.0.1", socket.remotePort ?? 1);
    const key = `stream ${address.key}`;
    const client = { address, key, send: (data: Uint8Array) => void socket.write(frameForStream([data])) };
    const deframer = new StreamDeframer();
    this.#streams.add(socket);
    socket.on("error", ignore);
    socket.on("data", (chunk: Uint8Array) =>
      deframer.push(chunk, (message) => void this.#handle(message.slice(), client)),
    );
    socket.on("close", () => {
      this.#streams.delete(socket);
      this.#allocations.get(key)?.socket.close();
      this.#allocations.delete(key);
    });
  }

  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  get allocations(): number {
    return this.#allocations.size;
  }

  close(): void {
    this.#socket.close();
    this.hangUp();
    for (const server of this.#servers) server.close();
    for (const { socket } of this.#allocations.values()) socket.close();
    this.#allocations.clear();
  }

  async #handle(data: Uint8Array, from: Client): Promise<void> {
    const allocation = this.#allocations.get(from.key);
    if (isChannelData(data)) {
      const peer = allocation?.channels.get(channelNumberOf(data));
      if (allocation && peer) this.#toPeer(allocation, peer, channelPayload(data));
      return;
    }
    const message = decodeStun(data);
    if (!message) return;
    const peer = getXorAddress(message, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    if (message.class === "indication") {
      const payload = getBytes(message, STUN_ATTRIBUTE.DATA);
      if (allocation && peer && payload && allocation.permissions.has(peer.ip)) this.#toPeer(allocation, peer, payload);
      return;
    }
    if (message.method === STUN_METHOD.BINDING) {
      from.send(reply("success", message).xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, from.address).build());
      return;
    }
    if (!verifyIntegrity(message, this.#key)) {
      const challenge = reply("error", message).errorCode(401).string(STUN_ATTRIBUTE.REALM, "test");
      from.send(challenge.string(STUN_ATTRIBUTE.NONCE, "nonce").build());
      return;
    }
    const success = reply("success", message);
    switch (message.method) {
      case STUN_METHOD.ALLOCATE: {
        const { socket } = allocation ?? (await this.#allocate(from));
        success
          .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, SocketAddress.of("127.0.0.1", socket.address().port))
          .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, from.address)
          .u32(STUN_ATTRIBUTE.LIFETIME, 600);
        break;
      }
      case STUN_METHOD.REFRESH: {
        const lifetime = getU32(message, STUN_ATTRIBUTE.LIFETIME) ?? 600;
        success.u32(STUN_ATTRIBUTE.LIFETIME, lifetime);
        if (lifetime === 0 && allocation) {
          this.released++;
          allocation.socket.close();
          this.#allocations.delete(from.key);
        }
        break;
      }
      case STUN_METHOD.CREATE_PERMISSION:
        if (peer) allocation?.permissions.add(peer.ip);
        break;
      case STUN_METHOD.CHANNEL_BIND: {
        const number = getChannelNumber(message);
        if (peer && number !== null) allocation?.channels.set(number, peer);
        if (peer) allocation?.permissions.add(peer.ip);
        break;
      }
    }
    from.send(success.build({ key: this.#key }));
  }

  async #allocate(client: Client): Promise<Allocation> {
    const socket = createSocket("udp4");
    const allocation: Allocation = { client, socket, permissions: new Set(), channels: new Map() };
    this.#allocations.set(client.key, allocation);
    socket.on("error", ignore);
    socket.on("message", (data, { address, port }) => {
      if (allocation.permissions.has(address)) this.#toClient(allocation, SocketAddress.of(address, port), data);
    });
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    return allocation;
  }

  #toPeer({ socket }: Allocation, peer: SocketAddress, data: Uint8Array): void {
    this.relayed++;
    socket.send(data, peer.port, peer.ip);
  }

  #toClient({ client, channels }: Allocation, peer: SocketAddress, data: Uint8Array): void {
    for (const [number, bound] of channels) {
      if (bound.equals(peer)) return client.send(wrapChannelData(number, data));
    }
    const indication = new StunBuilder("indication", STUN_METHOD.DATA, new Uint8Array(12), data.length + 64)
      .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, peer)
      .add(STUN_ATTRIBUTE.DATA, data);
    client.send(indication.build());
  }
}

const reply = (messageClass: StunClass, request: StunMessage): StunBuilder =>
  new StunBuilder(messageClass, request.method, request.transactionId);
