import { lookup } from "node:dns/promises";
import { parseIp, SocketAddress } from "@adit/core";
import { IceConnectionError } from "./errors.ts";

/** The address of a server given as `host:port`, IPv6 in brackets. @throws IceConnectionError `bad-server`. */
export async function resolveServer(text: string): Promise<SocketAddress> {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (!host || port < 1 || port > 65_535) {
    throw new IceConnectionError("bad-server", `"${text}" is not host:port (IPv6 addresses in brackets)`);
  }
  if (parseIp(host)) return SocketAddress.of(host, port);
  try {
    return SocketAddress.of((await lookup(host)).address, port);
  } catch (cause) {
    throw new IceConnectionError("bad-server", `the server ${host} cannot be resolved; check its name`, { cause });
  }
}
