import { bindBun } from "./bun-udp.ts";
import { bindNode } from "./node-udp.ts";
import type { UdpBindOptions, UdpRuntime, UdpSocket } from "./udp.ts";

/** The implementations that work in this runtime, the better one first. */
export const udpRuntimes: readonly UdpRuntime[] = "Bun" in globalThis ? ["bun", "node"] : ["node"];

/**
 * Binds a UDP socket.
 * @throws UdpBindError `address-in-use`, `address-not-available`, `permission-denied` or `bind-failed`
 */
export function bindUdp(options: UdpBindOptions): Promise<UdpSocket> {
  const runtime = options.runtime ?? udpRuntimes[0];
  return runtime === "bun" ? bindBun(options) : bindNode(options);
}
