import { type AddressInfo, createServer } from "node:net";
import { nullLogger, SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { netcheck } from "../src/netcheck/netcheck.ts";
import { askOverHttp, readAnswer } from "../src/netcheck/portal.ts";
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
const known = {
  udp: true,
  tcp: true,
  intercepted: false,
  signIn: null,
  ipv4: { address: "198.51.100.7", nat: true },
  ipv6: null,
  nat,
  portMapping: null,
  intermediates: [intermediate],
} as const;

test("interrupted, it gives no verdict: what was not waited for did not answer", async (t) => {
  const printed: string[] = [];
  const context = {
    program: "adit-agent",
    stateDir: "/nonexistent",
    log: nullLogger,
    signal: AbortSignal.abort(),
    print: (text: string) => printed.push(text),
  };
  const values = {
    intermediate: [],
    stun: [{ host: "127.0.0.1", port: 9 }],
    portMapping: "off",
    bindingLifetime: false,
    json: false,
  } as const;
  const start = (): Promise<never> => Promise.reject(new Error("no endpoint is wanted without an intermediate"));
  t.equal(await netcheck(start, values, context), 0);
  t.same(printed, []);
});

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
  const ipv6 = { address: "2001:db8::7", nat: false };
  const both = expectation({ ...known, ipv6 });
  t.same([both.direct, /with all that have IPv6/.test(both.sentence)], ["most", true], "IPv6 beside a NAT");
  t.notOk(/IPv6/.test(expectation({ ...known, ipv6, portMapping: mapped }).sentence), "all are reached anyway");
  t.notOk(/IPv6/.test(expectation({ ...known, ipv6: { ...ipv6, nat: true } }).sentence), "a NAT for IPv6");
  const alone = expectation({ ...known, ipv4: null, ipv6, nat: { ...nat, present: false } });
  t.same([alone.direct, /that have IPv4 alone/.test(alone.sentence)], ["few", true], "IPv6 alone");
  const counting = { ...nat, mapping: "APDM" } as const;
  t.match(expectation({ ...known, nat: counting }).sentence, /count up/);
  t.notOk(/count up/.test(expectation({ ...known, nat: { ...counting, portDelta: null } }).sentence));
  t.match(expectation({ ...known, udp: false, nat: null }).sentence, /relayed over TCP/);
});

test("the report for a person: a line each, and what it comes to", (t) => {
  const report: NetcheckReport = {
    ...known,
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

test("a captive portal is told by what it answers in place of the server, and where to sign in", (t) => {
  const answer = (status: string, ...headers: readonly string[]) =>
    readAnswer([`HTTP/1.1 ${status}`, ...headers, "\r\n"].join("\r\n"), "203.0.113.1");
  const portal = (signIn: string | null) => ({ kind: "portal", signIn }) as const;
  t.same(answer("302 Found", "Location: http://login.hotel.example/?u=1"), portal("http://login.hotel.example/?u=1"));
  t.same(answer("307 x", "content-length: 0", "location: https://p.example"), portal("https://p.example/"));
  t.same(answer("511 Network Authentication Required"), portal(null), "RFC 6585 §6");
  t.same(answer("302 Found", "Location: javascript:alert(1)"), { kind: "page" }, "no place for a browser");
  t.same(
    answer("302 Found", `Location: http://p.example/${"x".repeat(400)}`),
    { kind: "page" },
    "too long to be shown",
  );
  t.same(answer("511 x", "Location: http://p.example/\u001b[31m"), portal("http://p.example/%1B[31m"));
  t.same(answer("301 Moved", "Location: https://203.0.113.1/"), { kind: "page" }, "the server's own web server");
  t.same(answer("200 OK"), { kind: "page" });
  t.same(readAnswer("", "203.0.113.1"), { kind: "nothing" });
  t.same(readAnswer("SSH-2.0-OpenSSH", "203.0.113.1"), { kind: "nothing" });
  const silent = { ...known, udp: false, tcp: false, nat: null, intermediates: [], intercepted: true };
  t.match(
    expectation({ ...silent, signIn: "http://p.example/" }).sentence,
    /: open http:\/\/p\.example\/ in a browser/,
  );
  t.match(expectation(silent).sentence, /: open any page in a browser/);
});

test("what answers HTTP at the server's address is asked once, and silence is not waited for long", async (t) => {
  const asked: string[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (data) => {
      asked.push(data.toString());
      socket.end("HTTP/1.0 302 Found\r\nLocation: http://portal.example/\r\n\r\n");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const address = SocketAddress.of("127.0.0.1", 3478);
  t.same(await askOverHttp(address, port), { kind: "portal", signIn: "http://portal.example/" });
  t.equal(asked.length, 1);
  t.match(asked[0] ?? "", /^GET \/ HTTP\/1\.1\r\nHost: 127\.0\.0\.1\r\n/);
  await new Promise((resolve) => server.close(resolve));
  t.same(await askOverHttp(address, port), { kind: "nothing" }, "nobody there any more");
});
