/** The IPv4 default gateway: Node and Bun do not tell it, so the system is asked in its own words. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { endianness } from "node:os";
import { promisify } from "node:util";
import { classifyIp, parseIp } from "@adit/core";

const TIMEOUT_MS = 2_000;
const MAX_OUTPUT_BYTES = 65_536;

/** Linux, macOS and Windows; null elsewhere, and where there is no default route or it leads to no router (a tunnel). */
export async function defaultGateway(platform: string = process.platform): Promise<string | null> {
  try {
    switch (platform) {
      case "linux":
        return parseProcNetRoute(await readFile("/proc/net/route", "latin1"), endianness() === "LE");
      case "darwin":
        return parseRouteGet(await output("/sbin/route", ["-n", "get", "default"]));
      case "win32":
        return parseRoutePrint(await output("route.exe", ["print", "-4", "0.0.0.0"]));
      default:
        return null;
    }
  } catch {
    return null; // no such file or command: there is no router that we could find
  }
}

async function output(command: string, args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, [...args], {
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_OUTPUT_BYTES,
    windowsHide: true,
  });
  return stdout;
}

const RTF_GATEWAY = 0x2;

/** Columns: interface, destination, gateway, flags, ..., metric (7th), mask; addresses as a 32-bit number of the machine's byte order. */
export function parseProcNetRoute(text: string, littleEndian: boolean): string | null {
  let best: { readonly metric: number; readonly ip: string } | null = null;
  for (const line of text.split("\n").slice(1)) {
    const [, destination, gateway = "", flags = "", , , metric, mask] = line.trim().split(/\s+/);
    if (destination !== "00000000" || mask !== "00000000" || !/^[\da-fA-F]{8}$/.test(gateway)) continue;
    if ((Number.parseInt(flags, 16) & RTF_GATEWAY) === 0) continue;
    const bytes = [0, 2, 4, 6].map((at) => Number.parseInt(gateway.slice(at, at + 2), 16));
    const ip = usable((littleEndian ? bytes.reverse() : bytes).join("."));
    const found = Number(metric);
    if (ip && (best === null || found < best.metric)) best = { metric: found, ip };
  }
  return best?.ip ?? null;
}

/** `route -n get default` of macOS: a line `gateway: 192.168.1.1`. */
export const parseRouteGet = (text: string): string | null => usable(/^\s*gateway:\s*(\S+)/m.exec(text)?.[1]);

/** `route print -4 0.0.0.0` of Windows: destination, mask, gateway, interface, metric; the words around differ by language. */
export function parseRoutePrint(text: string): string | null {
  const routes = [...text.matchAll(/^\s*0\.0\.0\.0\s+0\.0\.0\.0\s+(\S+)\s+\S+\s+(\d+)\s*$/gm)]
    .map((match) => ({ ip: usable(match[1]), metric: Number(match[2]) }))
    .filter(({ ip }) => ip !== null)
    .sort((a, b) => a.metric - b.metric);
  return routes[0]?.ip ?? null;
}

function usable(ip: string | undefined): string | null {
  if (ip === undefined || parseIp(ip)?.length !== 4) return null;
  const is = classifyIp(ip);
  return is === "unspecified" || is === "loopback" || is === "multicast" || is === "broadcast" ? null : ip;
}
