/**
 * A router as people have them: the kernel's own translation, whose filter lets in what was sent to, and miniupnpd beside it, which opens
 * ports for those who ask.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { run } from "../commands.ts";
import type { Lab } from "../lab.ts";
import { LAN, type NatSetting, TRANSLATION, WAN } from "../nat-rules.ts";
import type { Side } from "../side.ts";
import type { Extra } from "./index.ts";

/** What a router speaks. NAT-PMP and PCP share a port; the first byte of a request is the version. */
const PROTOCOLS = {
  pcp: [`udp dport 5351 @th,64,8 2 accept`],
  "nat-pmp": [`udp dport 5351 @th,64,8 0 accept`],
  upnp: ["udp dport 1900 accept", "tcp dport 5000 accept"],
} as const;
type Protocol = keyof typeof PROTOCOLS;

const READY_MS = 5_000;
/** The longest lease of PCP and NAT-PMP: renewals come while a scenario lasts. */
export const MAX_LEASE_S = 30;

/** Only with APDF, which is what the kernel's filter is. */
export function router(...protocols: readonly Protocol[]): Extra {
  return {
    words: `the router speaks ${protocols.join(", ")}`,
    mapsPorts: true,
    apply: async (lab, side) => {
      const nat = side.nats[0];
      if (nat?.setting.filtering !== "APDF")
        throw new Error(`+${protocols.join("+")} is for a side behind a NAT with APDF`);
      nat.follow((setting) => kernelRules(setting, protocols));
      run("nft", ["-f", "-"], { namespace: nat.name, input: MINIUPNPD_TABLE });
      await startMiniupnpd(lab, side, protocols);
    },
  };
}

/** In a table of its own, which a NAT's reboot leaves alone. */
const MINIUPNPD_TABLE = `
add table inet filter
delete table inet filter
table inet filter {
  chain miniupnpd {}
  chain prerouting_miniupnpd {}
  chain postrouting_miniupnpd {}
  chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority srcnat - 1; jump postrouting_miniupnpd; }
}
`;

function kernelRules(nat: NatSetting, protocols: readonly Protocol[]): string {
  return `
table ip nat
delete table ip nat
table ip nat {
  chain zone { type filter hook prerouting priority raw; policy accept; ct zone set ${nat.generation}; }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname "${LAN}" oifname { "${LAN}", "${WAN}" } accept
    ct state established,related accept
    ct status dnat accept
  }
  chain input {
    type filter hook input priority filter; policy drop;
    ${protocols.flatMap((protocol) => PROTOCOLS[protocol].map((rule) => `iifname "${LAN}" ${rule}`)).join("\n    ")}
  }
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${WAN}" ip protocol udp ${TRANSLATION[nat.ports](nat)}
    oifname "${WAN}" ip protocol tcp snat to ${nat.externalIp}
  }
}
`;
}

const running = new Map<string, ChildProcess>();

/** Resolves when it listens; it announces itself then, as a router does that has started. */
async function startMiniupnpd(lab: Lab, { nats }: Side, protocols: readonly Protocol[]): Promise<void> {
  const nat = nats[0]?.name as string;
  const config = `/run/lab/${nat}.miniupnpd`;
  const speaks = (...some: readonly Protocol[]) => (protocols.some((one) => some.includes(one)) ? "yes" : "no");
  writeFileSync(
    config,
    [
      `ext_ifname=${WAN}`,
      `listening_ip=${LAN}`,
      "http_port=5000",
      `enable_natpmp=${speaks("pcp", "nat-pmp")}`,
      `enable_upnp=${speaks("upnp")}`,
      "min_lifetime=10",
      `max_lifetime=${MAX_LEASE_S}`,
      "secure_mode=yes",
      "system_uptime=no",
      "ipv6_disable=yes",
      "uuid=00000000-0000-0000-0000-000000000001",
      "allow 1024-65535 0.0.0.0/0 1024-65535",
    ].join("\n"),
  );
  const child = spawn(
    "nsenter",
    [`--net=/run/netns/${nat}`, "miniupnpd", "-d", "-f", config, "-P", `/run/lab/${nat}.pid`],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  running.set(nat, child);
  lab.onClose(() => child.kill("SIGKILL"));
  const ready = speaks("pcp", "nat-pmp") === "yes" ? "Listening for NAT-PMP/PCP" : "HTTP listening";
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`miniupnpd is not ready after ${READY_MS} ms`)), READY_MS);
    const failed = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`miniupnpd ${why}; Debian has it as miniupnpd-nftables`));
    };
    child.once("error", ({ message }) => failed(`does not start: ${message}`));
    child.once("exit", (status) => failed(`ended with status ${status}`));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        if (!line.includes(ready)) return;
        clearTimeout(timer);
        resolve();
      });
    }
  });
}

/** What the router has mapped, as nft lists it: `udp dport 40000 dnat ip to 192.168.1.2:40000`. */
export function mappedPorts({ nats }: Side): readonly string[] {
  const listed = run("nft", ["list", "chain", "inet", "filter", "prerouting_miniupnpd"], {
    namespace: nats[0]?.name as string,
  });
  return listed.split("\n").flatMap((line) => (line.includes("dnat") ? [line.trim()] : []));
}

/** The router loses its mappings and starts anew. */
export async function restartRouter(lab: Lab, side: Side, protocols: readonly Protocol[]): Promise<void> {
  const nat = side.nats[0]?.name as string;
  const child = running.get(nat);
  if (child && child.exitCode === null) {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.removeAllListeners("exit");
    child.once("exit", () => {});
    child.kill("SIGKILL");
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 1_000))]);
  }
  run("nft", ["-f", "-"], { namespace: nat, input: MINIUPNPD_TABLE });
  await startMiniupnpd(lab, side, protocols);
}
