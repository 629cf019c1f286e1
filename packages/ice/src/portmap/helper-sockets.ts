import { createSocket, type Socket } from "node:dgram";
import { type Logger, SocketAddress } from "@adit/core";
import { PMP_ANNOUNCE_PORT } from "./pmp-codec.ts";

/** Where routers announce themselves: all hosts of the network. */
const ALL_HOSTS = "224.0.0.1";

type OnDatagram = (from: SocketAddress, data: Uint8Array) => void;

/** Our address on the way to the gateway, as the system's routing has it; null when there is no way. */
export function addressToward(gateway: string): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const done = (ip: string | null): void => {
      socket.removeAllListeners();
      socket.on("error", () => {}); // one that comes with the closing
      socket.close();
      resolve(ip);
    };
    socket.once("error", () => done(null));
    // Connecting a UDP socket sends nothing.
    socket.connect(9, gateway, () => done(socket.address().address));
  });
}

/** Questions to the router leave from here, not from the socket that is mapped: they are between this host and the router. */
export function openQuestions(localIp: string, onDatagram: OnDatagram, log: Logger): Promise<Socket | null> {
  const socket = createSocket("udp4");
  return listen(socket, { address: localIp, port: 0 }, onDatagram, log, () => socket.setMulticastInterface(localIp));
}

/** Hears announcements; shared with other programs on this host. Null: somebody keeps the port for himself, and renewals must do. */
export function openAnnouncements(localIp: string, onDatagram: OnDatagram, log: Logger): Promise<Socket | null> {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  return listen(socket, { port: PMP_ANNOUNCE_PORT }, onDatagram, log, () => socket.addMembership(ALL_HOSTS, localIp));
}

function listen(
  socket: Socket,
  where: { readonly address?: string; readonly port: number },
  onDatagram: OnDatagram,
  log: Logger,
  prepare: () => void,
): Promise<Socket | null> {
  return new Promise((resolve) => {
    const refuse = (error: Error): void => {
      log.debug("port-mapping-socket", { port: where.port, message: error.message });
      resolve(null);
    };
    socket.once("error", refuse);
    socket.bind(where, () => {
      socket.off("error", refuse);
      // A router without a listener answers with ICMP, which some systems report here: it is silence to us.
      socket.on("error", () => {});
      socket.on("message", (data, { address, port }) => onDatagram(SocketAddress.of(address, port), data));
      socket.unref();
      try {
        prepare();
      } catch (error) {
        log.debug("port-mapping-multicast", { message: error instanceof Error ? error.message : String(error) });
      }
      resolve(socket);
    });
  });
}
