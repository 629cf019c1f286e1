/**
 * A STUN and TURN server on a simulated host, without authentication (the TURN client's own tests have that). It grants and
 * forwards; what it has granted and not got back is to be seen.
 */
import type { SocketAddress } from "@adit/core";
import type { Host, Network, SimSocket } from "@adit/sim";
import { getBytes, getChannelNumber, getU32, getXorAddress } from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { decodeStun, type StunMessage } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";
import { channelNumberOf, channelPayload, isChannelData, wrapChannelData } from "../src/turn/channel-data.ts";
import { dataIndication } from "./turn-fake-server.ts";

const LIFETIME_S = 600;

interface Allocation {
  readonly client: SocketAddress;
  readonly socket: SimSocket;
  readonly permissions: Set<string>;
  readonly channels: Map<number, SocketAddress>;
}

export class SimRelay {
  readonly #host: Host;
  readonly #socket: SimSocket;
  readonly #allocations = new Map<string, Allocation>();

  constructor(network: Network, ip = "192.0.2.1") {
    this.#host = network.addHost("relay", ip);
    this.#socket = this.#host.bind(({ data, from }) => this.#handle(data, from), { port: 3478, ip });
  }

  get address(): SocketAddress {
    return this.#socket.address;
  }

  get allocations(): number {
    return this.#allocations.size;
  }

  #handle(data: Uint8Array, from: SocketAddress): void {
    const allocation = this.#allocations.get(from.key);
    if (isChannelData(data)) {
      const peer = allocation?.channels.get(channelNumberOf(data));
      if (allocation && peer) allocation.socket.send(channelPayload(data), peer);
      return;
    }
    const message = decodeStun(data);
    if (message?.class === "request") {
      this.#socket.send(this.#answer(message, from, allocation ?? null), from);
    } else if (message?.method === STUN_METHOD.SEND && allocation) {
      const peer = getXorAddress(message, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
      const payload = getBytes(message, STUN_ATTRIBUTE.DATA);
      if (peer && payload && allocation.permissions.has(peer.ip)) allocation.socket.send(payload, peer);
    }
  }

  #answer(request: StunMessage, from: SocketAddress, allocation: Allocation | null): Uint8Array {
    const success = new StunBuilder("success", request.method, request.transactionId);
    const refuse = (code: number) =>
      new StunBuilder("error", request.method, request.transactionId).errorCode(code).build();
    const peer = getXorAddress(request, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    if (request.method === STUN_METHOD.BINDING) {
      return success.xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, from).build();
    }
    if (request.method === STUN_METHOD.ALLOCATE) return this.#allocate(success, from);
    if (!allocation) return refuse(437);
    switch (request.method) {
      case STUN_METHOD.REFRESH: {
        const isOver = getU32(request, STUN_ATTRIBUTE.LIFETIME) === 0;
        if (isOver) this.#release(allocation);
        return success.u32(STUN_ATTRIBUTE.LIFETIME, isOver ? 0 : LIFETIME_S).build();
      }
      case STUN_METHOD.CREATE_PERMISSION:
        if (!peer) return refuse(400);
        allocation.permissions.add(peer.ip);
        return success.build();
      case STUN_METHOD.CHANNEL_BIND: {
        const number = getChannelNumber(request);
        if (!peer || number === null) return refuse(400);
        allocation.permissions.add(peer.ip);
        allocation.channels.set(number, peer);
        return success.build();
      }
      default:
        return refuse(400);
    }
  }

  /** A repeated request finds the allocation that the first one made. */
  #allocate(success: StunBuilder, client: SocketAddress): Uint8Array {
    let allocation = this.#allocations.get(client.key);
    if (!allocation) {
      const made: Allocation = {
        client,
        permissions: new Set(),
        channels: new Map(),
        socket: this.#host.bind(({ data, from }) => this.#toClient(made, from, data), { ip: this.address.ip }),
      };
      allocation = made;
      this.#allocations.set(client.key, made);
    }
    return success
      .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, allocation.socket.address)
      .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, client)
      .u32(STUN_ATTRIBUTE.LIFETIME, LIFETIME_S)
      .build();
  }

  #release({ client, socket }: Allocation): void {
    this.#allocations.delete(client.key);
    socket.close();
  }

  #toClient({ client, permissions, channels }: Allocation, from: SocketAddress, data: Uint8Array): void {
    if (!permissions.has(from.ip)) return;
    for (const [number, peer] of channels) {
      if (!peer.equals(from)) continue;
      this.#socket.send(wrapChannelData(number, data), client);
      return;
    }
    this.#socket.send(dataIndication(from, data), client);
  }
}
