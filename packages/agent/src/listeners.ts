import { createServer, type Server, type Socket } from "node:net";
import type { SocketAddress } from "@adit/core";
import { bindFailure, type LocalListener } from "@adit/program";

/** A listener that is bound: port 0 has become a real one. */
export interface BoundListener {
  readonly protocol: "tcp" | "udp";
  readonly service: string;
  readonly address: SocketAddress;
}

interface TcpListener extends BoundListener {
  readonly server: Server;
}

/** Connections that one listener has at once; the next ones are closed by the system. */
const MAX_CONNECTIONS = 4096;

type Handler = (socket: Socket, service: string) => void;

/** Local TCP listeners: all bound, or none. */
export class Listeners {
  readonly bound: readonly BoundListener[];
  readonly #servers: readonly Server[];
  readonly #sockets = new Set<Socket>();
  /** Connections from before {@link start}: no more than there may be at all. */
  #early: [Socket, string][] = [];
  #handler: Handler | null = null;

  private constructor(bound: readonly TcpListener[]) {
    this.bound = bound.map(({ protocol, service, address }) => ({ protocol, service, address }));
    this.#servers = bound.map(({ server }) => server);
    for (const { server, service } of bound) server.on("connection", (socket) => this.#take(socket, service));
  }

  /** @throws ExitError `usage` when an address cannot be bound. */
  static async bind(wanted: readonly LocalListener[]): Promise<Listeners> {
    const bound: TcpListener[] = [];
    try {
      for (const { address, service } of wanted) {
        const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
        server.maxConnections = MAX_CONNECTIONS;
        bound.push({ server, protocol: "tcp", service, address: await listen(server, address) });
      }
    } catch (error) {
      for (const { server } of bound) server.close();
      throw error;
    }
    return new Listeners(bound);
  }

  /** Hands over each connection, paused; those that came before too. */
  start(handler: Handler): void {
    this.#handler = handler;
    for (const [socket, service] of this.#early.splice(0)) handler(socket, service);
  }

  /** Takes no more connections; those that live are left alone. */
  stop(): void {
    for (const server of this.#servers) server.close();
  }

  /** Resets the connections that are left. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  #take(socket: Socket, service: string): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {}); // whoever carries it hears of it too; alone it must not end the program
    if (this.#handler) this.#handler(socket, service);
    else this.#early.push([socket, service]);
  }
}

function listen(server: Server, address: SocketAddress): Promise<SocketAddress> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(bindFailure(error, "--local", `the listener's address ${address.key}`)));
    server.listen({ host: address.ip, port: address.port }, () => {
      const bound = server.address();
      resolve(address.withPort(typeof bound === "object" && bound !== null ? bound.port : address.port));
    });
  });
}
