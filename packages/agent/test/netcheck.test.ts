import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import type { NetcheckReport } from "../src/netcheck/report.ts";
import { expectation } from "../src/netcheck/verdict.ts";
import { inWords } from "../src/netcheck/words.ts";

const nat: NonNullable<NetcheckReport["nat"]> = {
  present: true,
  mapping: "EIM",
  filtering: "APDF",
  portsPreserved: false,
  portDelta: 1,
  hairpin: null,
  bindingLifetime: { atLeastMs: 90_000, belowMs: 101_250 },
  sentence: "",
};
const intermediate = { address: "203.0.113.1:4433", connected: true, rttMs: 12.34, transport: "quic" } as const;
const mapped: NonNullable<NetcheckReport["portMapping"]> = {
  gateway: "192.168.1.1",
  external: SocketAddress.of("11.0.0.10", 40_000),
  public: true,
  protocols: [{ protocol: "pcp", available: true, why: null }],
  sentence: "11.0.0.10:40000 at the router 192.168.1.1 by PCP",
};
const known = { udp: true, tcp: true, nat, portMapping: null, intermediates: [intermediate] } as const;

test("what to expect, for each kind of network", (t) => {
  const cases: readonly (readonly [
    string,
    Partial<Parameters<typeof expectation>[0]>,
    string | null,
    boolean | null,
  ])[] = [
    ["EIM and APDF", {}, "most", true],
    ["EIM and ADF", { nat: { ...nat, filtering: "ADF" } }, "all", true],
    ["APDM", { nat: { ...nat, mapping: "APDM", filtering: "EIF" } }, "few", true],
    ["APDM behind a router that opens ports", { nat: { ...nat, mapping: "APDM" }, portMapping: mapped }, "all", true],
    [
      "and one behind a carrier",
      { nat: { ...nat, mapping: "APDM" }, portMapping: { ...mapped, public: false } },
      "few",
      true,
    ],
    ["no NAT, no firewall", { nat: { ...nat, present: false, mapping: null, filtering: "EIF" } }, "all", true],
    ["no NAT, a firewall", { nat: { ...nat, present: false, mapping: null, filtering: "APDF" } }, "most", true],
    ["a NAT of unknown kind", { nat: { ...nat, mapping: null, filtering: null } }, null, true],
    ["EIM, filtering unknown", { nat: { ...nat, filtering: null } }, "most", true],
    ["UDP blocked", { udp: false, nat: null }, "none", true],
    [
      "nothing",
      { udp: null, tcp: false, nat: null, intermediates: [{ ...intermediate, connected: false }] },
      null,
      false,
    ],
    ["only a foreign server", { intermediates: [] }, "most", null],
  ];
  for (const [words, change, direct, relay] of cases) {
    const found = expectation({ ...known, ...change });
    t.equal(found.direct, direct, words);
    t.equal(found.relay, relay, words);
    t.match(found.sentence, /^[A-Z].*\.$/, words);
  }
  const counting = { ...nat, mapping: "APDM" } as const;
  t.match(expectation({ ...known, nat: counting }).sentence, /count up/);
  t.notOk(/count up/.test(expectation({ ...known, nat: { ...counting, portDelta: null } }).sentence));
  t.match(expectation({ ...known, udp: false, nat: null }).sentence, /relayed over TCP/);
});

test("the report for a person: a line each, and what it comes to", (t) => {
  const report: NetcheckReport = {
    ...known,
    intercepted: false,
    ipv4: { address: "198.51.100.7", nat: true },
    ipv6: null,
    portMapping: mapped,
    expect: expectation(known),
    unknown: ["filtering: no"],
    tookMs: 1,
  };
  t.equal(
    inWords(report),
    [
      "UDP           gets out and back",
      "TCP           works",
      "IPv4          198.51.100.7 (behind a NAT)",
      "IPv6          not seen",
      "mapping       EIM (one external address for all destinations)",
      "filtering     APDF (lets in only the hosts and ports that were sent to)",
      "ports         changed, each 1 above the last",
      "hairpin       not known",
      "lifetime      90 s at least, less than 101 s",
      "port mapping  11.0.0.10:40000 at the router 192.168.1.1 by PCP",
      "intermediate  203.0.113.1:4433, 12.3 ms",
      "not known     filtering: no",
      "",
      "Direct with most peers; relayed with those whose NAT gives each destination another port (APDM).",
    ].join("\n"),
  );
  const blocked = inWords({ ...report, udp: false, tcp: false, intercepted: true, nat: null, ipv4: null });
  t.match(blocked, /^UDP {11}is blocked\nTCP {11}is answered by something else: a captive portal or a proxy\n/);
});
