import { run } from "../commands.ts";
import { PROBE_IPS } from "../lab.ts";
import { LAN } from "../nat-rules.ts";
import type { Extra } from "./index.ts";

const AT = { ip: PROBE_IPS[1], port: 8080 };
/** Where it sends browsers to. */
export const SIGN_IN_URL = "http://portal.example/sign-in";

/**
 * A hotel's network before one has signed in: plain HTTP for anybody is answered by its portal, which sends browsers to its own page, and
 * nothing else gets out. Some answer all of TCP that way.
 */
export const captivePortal = (answers: "port 80" | "all of TCP"): Extra => ({
  words: `a captive portal, which answers ${answers}`,
  blocksUdp: true,
  isPortal: true,
  apply: async (lab, { nats, host }) => {
    const nat = nats[0]?.name;
    if (!nat) throw new Error(`${host}: a captive portal is for a side behind a NAT`);
    await lab.station("probe").ask("servePortal", AT.ip, AT.port, SIGN_IN_URL);
    run("nft", ["-f", "-"], {
      namespace: nat,
      input: `table ip portal {
        chain answer {
          type nat hook prerouting priority dstnat;
          iifname "${LAN}" tcp dport ${answers === "port 80" ? "80" : "1-65535"} dnat to ${AT.ip}:${AT.port}
        }
        chain hold {
          type filter hook forward priority filter - 10; policy drop;
          ip daddr ${AT.ip} tcp dport ${AT.port} accept
          ip saddr ${AT.ip} tcp sport ${AT.port} accept
        }
      }`,
    });
  },
});
