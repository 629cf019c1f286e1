import { createSocket } from "node:dgram";
import { type Logger, parseIp, SocketAddress } from "@adit/core";
import { IceConnectionError } from "./errors.ts";

export interface Udp {
  readonly address: SocketAddress;
  /** Errors of sending are nothing but silence to ICE. `sent` is called when the datagram has left, or never will. */
  send(data: Uint8Array, to: SocketAddress, sent?: () => void): void;
  close(): Promise<void>;
}

/** @throws IceConnectionError `bind-failed`. */
export function bindUdp(
  ip: string,
  port: number,
  onDatagram: (data: Uint8Array, from: SocketAddress) => void,
  log: Logger,
): Promise<Udp> {
  const socket = createSocket({ type: ip.includes(":") ? "udp6" : "udp4", ipv6Only: ip.includes(":") });
  return new Promise((resolve, reject) => {
    const refuse = (cause: Error) => {
      reject(new IceConnectionError("bind-failed", `cannot bind UDP ${ip} port ${port}: ${cause.message}`, { cause }));
    };
    socket.once("error", refuse);
    socket.bind({ address: ip, port, exclusive: true }, () => {
      socket.off("error", refuse);
      // ICMP errors surface here on some systems. They are unauthenticated, so they mean nothing to ICE.
      socket.on("error", (error) => log.debug("ice-udp-error", { message: error.message }));
      socket.on("message", (data, { address, port: from }) => {
        const source = stripZone(address);
        if (parseIp(source)) onDatagram(data, SocketAddress.of(source, from));
      });
      const bound = socket.address();
      resolve({
        address: SocketAddress.of(stripZone(bound.address), bound.port),
        send: (data, to, sent) => {
          try {
            socket.send(data, to.port, to.ip, () => sent?.());
          } catch {
            sent?.(); // a runtime that throws what others report: unreachable, or closed meanwhile
          }
        },
        close: () => new Promise((closed) => socket.close(() => closed())),
      });
    });
  });
}

const stripZone = (ip: string): string => ip.split("%", 1)[0] ?? ip;
