import { bindBun } from "./bun-udp.ts";
import { bindError } from "./errors.ts";
import { bindNode } from "./node-udp.ts";
import { bindPolled } from "./polled-udp.ts";
import type { UdpBindOptions, UdpRuntime, UdpSocket } from "./udp.ts";

/** The implementations that work in this runtime, the better one first. */
export const udpRuntimes: readonly UdpRuntime[] =
  "Bun" in globalThis ? (process.platform === "linux" ? ["bun", "node", "linux"] : ["bun", "node"]) : ["node"];

/**
 * Binds a UDP socket.
 * @throws UdpBindError `address-in-use`, `address-not-available`, `permission-denied` or `bind-failed`
 */
export async function bindUdp(options: UdpBindOptions): Promise<UdpSocket> {
  const polled = options.runtime === "linux" || (options.runtime === undefined && options.lends);
  const socket = polled ? await bindPolled(options) : null;
  if (socket) return socket;
  if (options.runtime === "linux") throw bindError(options.address, new Error("this system has no such sockets"));
  const runtime = options.runtime ?? udpRuntimes[0];
  return runtime === "bun" ? bindBun(options) : bindNode(options);
}
