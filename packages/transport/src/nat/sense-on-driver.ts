import type { SocketId } from "@adit/core";
import type { Driver, Receive } from "../driver.ts";
import type { BoundSocket } from "../peer/own-candidates.ts";
import { NetworkSense, type NetworkSenseOptions } from "./network-sense.ts";

type Options = Omit<NetworkSenseOptions, "openSocket" | "closeSocket" | "wake"> & {
  readonly driver: Driver;
  /** Those that everything goes over; a measurement gets others, beside them. */
  readonly sockets: readonly BoundSocket[];
};

/** A sense whose sockets are the driver's. */
export function senseOnDriver({ driver, sockets, ...options }: Options): NetworkSense {
  const receive: Receive = (_now, socket, batch) => {
    for (const { data, from } of batch) sense.handleDatagram(socket, from, data);
  };
  const openSocket = async (family: 4 | 6): Promise<SocketId | null> => {
    const beside = sockets.find(({ address }) => address.family === family);
    return beside ? await driver.bind({ address: beside.address.withPort(0), receive }).catch(() => null) : null;
  };
  const sense = new NetworkSense({
    ...options,
    openSocket,
    closeSocket: (socket) => driver.removeSocket(socket),
    wake: () => driver.wake(),
  });
  driver.add(sense);
  return sense;
}
