import { fromHex, seededRandom, toHex, utf8 } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, test } from "@adit/harness";
import { EpochClock } from "../src/portmap/epoch.ts";
import { parseProcNetRoute, parseRouteGet, parseRoutePrint } from "../src/portmap/gateway.ts";
import { readSoapAnswer, soapRequest, wanServices } from "../src/portmap/igd.ts";
import { natPmp } from "../src/portmap/nat-pmp.ts";
import { pcp } from "../src/portmap/pcp.ts";
import { gatewayUrl, readSearchAnswer } from "../src/portmap/ssdp.ts";
import { escapeXml, parseXml } from "../src/portmap/xml.ts";

const NONCE = fromHex("000102030405060708090a0b");
const client = pcp("192.168.1.2", NONCE);
const WISH = { internalPort: 0x1234, externalPort: 0x5678, externalIp: null, lifetimeSeconds: 600 };

test("PCP requests, by RFC 6887 §7.1 and §11.1", (t) => {
  const header = "02 00 0000 00000000 00000000000000000000ffffc0a80102";
  t.equal(toHex(client.probe()), header.replace(/ /g, ""));
  const map =
    "02 01 0000 00000258 00000000000000000000ffffc0a80102" +
    "000102030405060708090a0b 11 000000 1234 5678 00000000000000000000ffff00000000";
  t.equal(toHex(client.map(WISH)), map.replace(/ /g, ""));
});

test("PCP answers, by RFC 6887 §7.2 and §11.1", (t) => {
  const answer = (result: string) =>
    fromHex(
      `02 81 00 ${result} 00000258 00000e10 000000000000000000000000 000102030405060708090a0b 11 000000 1234 5678 00000000000000000000ffff0b00000a`,
    );
  t.same(client.read(answer("00")), {
    kind: "mapped",
    epochSeconds: 3600,
    externalIp: "11.0.0.10",
    internalPort: 0x1234,
    externalPort: 0x5678,
    lifetimeSeconds: 600,
  });
  const refused = client.read(answer("08"));
  t.same(refused, { kind: "refused", to: "map", why: "no resources", retryAfterMs: 600_000 });
  t.equal(client.read(answer("00").subarray(0, 56)), null, "cut short");
  t.equal(pcp("192.168.1.2", fromHex("ff0102030405060708090a0b")).read(answer("00")), null, "another nonce");
  t.same(client.read(fromHex("00 80 0001 00000e10")), { kind: "unsupported" }, "a server of NAT-PMP");
});

test("NAT-PMP, by RFC 6886 §3.2 and §3.3", (t) => {
  t.equal(toHex(natPmp.probe()), "0000");
  t.equal(toHex(natPmp.map(WISH)), "000100001234567800000258");
  t.equal(toHex(natPmp.map({ ...WISH, lifetimeSeconds: 0 })), "000100001234000000000000");
  const alive = { kind: "alive", epochSeconds: 3600, externalIp: "11.0.0.10" };
  t.same(natPmp.read(fromHex("00 80 0000 00000e10 0b00000a")), alive);
  const mapped = {
    kind: "mapped",
    epochSeconds: 3600,
    externalIp: null,
    internalPort: 0x1234,
    externalPort: 0x5678,
    lifetimeSeconds: 600,
  };
  t.same(natPmp.read(fromHex("00 81 0000 00000e10 1234 5678 00000258")), mapped);
  const refused = natPmp.read(fromHex("00 81 0002 00000e10 1234 0000 00000000"));
  t.equal(refused?.kind === "refused" && refused.to, "map");
  t.equal(natPmp.read(fromHex("00 80 0001 00000e10")), null, "said to PCP, which shares the port");
  t.same(natPmp.read(fromHex("02 80 00 01 00000000 00000e10")), { kind: "unsupported" }, "a server of PCP alone");
});

test("the epoch shows restarts, and forgives rounding, delay and drift (RFC 6887 §8.5)", (t) => {
  const checks: readonly (readonly [string, readonly (readonly [number, number])[], boolean])[] = [
    [
      "in step",
      [
        [0, 100],
        [300, 400],
      ],
      true,
    ],
    [
      "one second back is rounding",
      [
        [0, 100],
        [0, 99],
      ],
      true,
    ],
    [
      "two are not",
      [
        [0, 100],
        [0, 98],
      ],
      false,
    ],
    [
      "a fast clock",
      [
        [0, 100],
        [1600, 1790],
      ],
      true,
    ],
    [
      "a slow clock",
      [
        [0, 100],
        [1600, 1610],
      ],
      true,
    ],
    [
      "restarted, and up for less than before",
      [
        [0, 100],
        [300, 5],
      ],
      false,
    ],
    [
      "restarted, and up for longer than before",
      [
        [0, 100],
        [3600, 3000],
      ],
      false,
    ],
    [
      "time runs on in the router while this host sleeps",
      [
        [0, 100],
        [10, 4000],
      ],
      false,
    ],
  ];
  for (const [words, steps, valid] of checks) {
    const clock = new EpochClock();
    const verdicts = steps.map(([at, seconds]) => clock.check(at * 1000, seconds));
    t.equal(verdicts.at(-1), valid, words);
  }
});

test("default gateways, in the words of each system", (t) => {
  const linux = [
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
    "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0",
    "eth0\t00000000\tFE02A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0",
    "tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0",
    "eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0",
  ].join("\n");
  t.equal(parseProcNetRoute(linux, true), "192.168.2.254", "the least metric that has a gateway");
  t.equal(parseProcNetRoute(linux, false), "254.2.168.192", "the machine's byte order");
  t.equal(parseProcNetRoute("", true), null);
  t.equal(
    parseRouteGet("   route to: default\ndestination: default\n    gateway: 192.168.1.1\n  interface: en0\n"),
    "192.168.1.1",
  );
  t.equal(parseRouteGet("   route to: default\n  interface: utun3\n"), null);
  const windows = [
    "Aktive Routen:",
    "     Netzwerkziel    Netzwerkmaske          Gateway    Schnittstelle Metrik",
    "          0.0.0.0          0.0.0.0      192.168.7.1     192.168.7.20     55",
    "          0.0.0.0          0.0.0.0      192.168.1.1     192.168.1.20     25\r",
    "          0.0.0.0          0.0.0.0   Auf Verbindung         10.9.0.2      5",
  ].join("\n");
  t.equal(parseRoutePrint(windows), "192.168.1.1");
});

test("XML as routers write it", (t) => {
  const text = `<?xml version="1.0"?><!-- a > b --><s:a xmlns:s="x" y='>'><b>1 &amp; &#x41;&lt;</b><c/><b><![CDATA[<2>]]></b></s:a>\n`;
  t.same(parseXml(text), {
    name: "a",
    text: "",
    children: [
      { name: "b", text: "1 & A<", children: [] },
      { name: "c", text: "", children: [] },
      { name: "b", text: "<2>", children: [] },
    ],
  });
  const bad = [
    "",
    "x",
    "<a>",
    "</a>",
    "<a></b>",
    "<a/><b/>",
    "<a",
    "<a><!-- </a>",
    '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
  ];
  for (const one of bad) t.equal(parseXml(one), null, one);
  t.equal(parseXml(`${"<a>".repeat(40)}${"</a>".repeat(40)}`), null, "too deep");
  t.equal(parseXml(`<a>${"<b/>".repeat(5_000)}</a>`), null, "too many");
  t.equal(parseXml(`<a>${escapeXml("<&\"'>")}</a>`)?.text, "<&\"'>");
});

test("a device's description: the services that map ports, the best first, on the router alone", (t) => {
  const service = (type: string, control: string) =>
    `<service><serviceType>urn:schemas-upnp-org:service:${type}</serviceType><controlURL>${control}</controlURL></service>`;
  const text = `<root><URLBase>http://192.168.1.1:49152/</URLBase><device>${service("WANPPPConnection:1", "/ppp")}${service("Layer3Forwarding:1", "/l3")}
    <deviceList><device>${service("WANIPConnection:1", "ctl/ip")}${service("WANIPConnection:1", "http://192.168.1.66/x")}</device></deviceList></device></root>`;
  const found = wanServices(text, new URL("http://192.168.1.1:80/d/root.xml"), "192.168.1.1");
  t.same(
    found.map(({ control }) => control.href),
    ["http://192.168.1.1:49152/ctl/ip", "http://192.168.1.1:49152/ppp"],
  );
});

test("SOAP calls and answers", (t) => {
  const service = { type: "urn:schemas-upnp-org:service:WANIPConnection:1", control: new URL("http://192.168.1.1/c") };
  const request = soapRequest(service, "AddPortMapping", [["NewPortMappingDescription", "a<b"]]);
  t.equal(request.headers.SOAPAction, '"urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping"');
  t.match(request.body, /<NewPortMappingDescription>a&lt;b<\/NewPortMappingDescription>/);
  t.ok(parseXml(request.body));
  const fault = `<E><B><Fault><detail><UPnPError><errorCode> 725 </errorCode><errorDescription>only\u0007permanent</errorDescription></UPnPError></detail></Fault></B></E>`;
  const answer = readSoapAnswer({ status: 500, body: fault }, "AddPortMapping");
  t.equal(!answer.ok && answer.code, 725);
  t.equal(!answer.ok && answer.why, "error 725 (onlypermanent)");
  t.equal(readSoapAnswer(null, "X").ok, false);
  t.equal(readSoapAnswer({ status: 200, body: "<html>" }, "X").ok, false);
});

test("a search's answer leads to the router, or nowhere", (t) => {
  const answer = (location: string) => utf8(`HTTP/1.1 200 OK\r\nlocation:  ${location}\r\nST: x\r\n\r\n`);
  t.equal(readSearchAnswer(answer("http://192.168.1.1:5000/r.xml"), "192.168.1.1")?.port, "5000");
  t.equal(readSearchAnswer(answer("http://192.168.1.2:5000/r.xml"), "192.168.1.1"), null);
  t.equal(gatewayUrl("http://3232235777/", "192.168.1.1")?.hostname, "192.168.1.1", "another spelling of the same");
  t.equal(gatewayUrl("//192.168.1.2/x", "192.168.1.1", new URL("http://192.168.1.1/")), null);
});

test(
  "malformed inputs for each reader",
  (t) => {
    const seed = fuzzSeed(6887);
    const random = seededRandom(seed);
    const seeds = [
      client.map(WISH),
      fromHex(
        "0281000000000258 00000e10 000000000000000000000000 000102030405060708090a0b 11 000000 1234 5678 00000000000000000000ffff0b00000a",
      ),
      fromHex("00 81 0000 00000e10 1234 5678 00000258"),
      utf8("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"),
      utf8(
        "<?xml version='1.0'?><root><!-- --><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/x&amp;</controlURL></service></root>",
      ),
      utf8("<s:Envelope><s:Body><u:XResponse xmlns:u='urn'><A>&#65;</A></u:XResponse></s:Body></s:Envelope>"),
    ];
    const base = new URL("http://192.168.1.1/");
    for (let i = 0, inputs = fuzzInputs(100_000); i < inputs; i++) {
      const data = (seeds[i % seeds.length] as Uint8Array).slice(0, 1 + Math.floor(random.float() * 300));
      for (let flips = 1 + Math.floor(random.float() * 4); flips > 0; flips--) {
        data[Math.floor(random.float() * data.length)] = Math.floor(random.float() * 256);
      }
      const text = new TextDecoder("latin1").decode(data);
      try {
        client.read(data);
        natPmp.read(data);
        const url = readSearchAnswer(data, "192.168.1.1");
        if (url) t.equal(url.hostname, "192.168.1.1");
        parseXml(text);
        for (const { control } of wanServices(text, base, "192.168.1.1")) t.equal(control.hostname, "192.168.1.1");
        readSoapAnswer({ status: 200, body: text }, "X");
        parseProcNetRoute(text, true);
        parseRouteGet(text);
        parseRoutePrint(text);
      } catch (error) {
        t.fail(`seed ${seed}, input ${i} (${toHex(data)}): ${error}`);
      }
    }
  },
  FUZZ,
);

test("hostile XML costs no more than its length", (t) => {
  const began = performance.now();
  const hostile = [
    "<a ".repeat(20_000),
    `<a${" b='".repeat(16_000)}`,
    "<".repeat(65_000),
    `<a>${"&#".repeat(30_000)}</a>`,
    `<a>${"<!--".repeat(16_000)}`,
    `<a ${"x".repeat(65_000)}>`,
    `<a>${"<b>".repeat(20_000)}`,
  ];
  for (const text of hostile) parseXml(text.slice(0, 65_536));
  const tookMs = performance.now() - began;
  t.ok(tookMs < 2_000, `${tookMs} ms`);
});
