// What only a kernel can show: a firewall rule in OUTPUT, and a link that is slower than the program. Needs `unshare -rn`.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isBun, test } from "@adit/harness";
import { udpRuntimes } from "../src/udp/bind.ts";

const SETUP = `
ip link set lo up mtu 1500
nft add table inet t
nft add chain inet t out '{ type filter hook output priority 0; }'
nft add rule inet t out ip daddr 127.0.0.9 drop
ip link add slow0 type veth peer name slow1
ip link set slow1 up
ip addr add 10.9.9.1/24 dev slow0
ip link set slow0 up
ip neigh add 10.9.9.2 lladdr 02:00:00:00:00:01 dev slow0
tc qdisc add dev slow0 root tbf rate 8mbit burst 3000 limit 10000000
`;

const inNamespace = (script: string, args: readonly string[] = []) =>
  spawnSync("unshare", ["-rn", "sh", "-ec", script, "sh", ...args], { encoding: "utf8", timeout: 20_000 });

function missing(): string | false {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  const { status, error } = inNamespace(SETUP);
  return status === 0 && !error ? false : "no user namespace, nft, or tbf here";
}

const skip = missing();
const child = ["./support/udp-namespace.ts", "./support/udp-namespace.js"]
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find(existsSync);

for (const runtime of udpRuntimes) {
  test(
    `${runtime}: a drop rule in OUTPUT costs only what it drops, and a slow link holds the sender back; what must not be fragmented is not`,
    (t) => {
      const run = inNamespace(`${SETUP}\nexec "$1" "$2" "$3"`, [process.execPath, t.must(child), runtime]);
      t.equal(run.status, 0, run.stderr);
      const result = JSON.parse(run.stdout) as Record<string, unknown>;

      t.equal(result.dealt, 60);
      t.same(
        result.got,
        Array.from({ length: 60 }, (_, i) => i).filter((i) => i % 3 !== 1),
      );
      t.same(result.sendErrors, { EPERM: 20 });

      t.equal(result.sent, 600);
      t.ok(Number(result.short) >= 3, `the socket was full ${result.short} times`);
      t.equal(result.drains, result.short);
      // 600 x 1242 bytes on the wire at 8 Mb/s take 745 ms; the last 100 or so wait in the kernel.
      t.ok(Number(result.tookMs) > 300, `sent in ${result.tookMs} ms`);

      t.same(
        result.whole,
        runtime !== "node"
          ? { dealt: 3, got: [0, 2], sendErrors: { EMSGSIZE: 1 }, can: true }
          : { dealt: 3, got: [0, 1, 2], sendErrors: {}, can: isBun },
      );
    },
    { skip },
  );
}
