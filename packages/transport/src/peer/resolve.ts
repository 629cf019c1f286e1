import { lookup } from "node:dns/promises";
import { parseIp } from "@adit/core";

/** All IP addresses of a host name, in the system's order; an IP address is its own. @throws the resolver's error. */
export async function resolveHost(host: string): Promise<readonly string[]> {
  if (parseIp(host)) return [host];
  const found = await lookup(host, { all: true, verbatim: true });
  return found.map(({ address }) => address);
}
