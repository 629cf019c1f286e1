/** Who shows a certificate that is not right is refused, on either side, before anything is read, and this side knows why. */
import { sign as cryptoSign, generateKeyPairSync, type KeyObject } from "node:crypto";
import { utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { type QuicConfig, readCertificate } from "../src/index.ts";
import { type NativeConnection, quiche } from "../src/native.ts";
import { checkPeer } from "../src/peer-check.ts";
import { alice, bob, closed, config, mallory, Pair, types } from "./pair.ts";

interface Credentials {
  readonly key?: string;
  readonly certificates?: readonly Uint8Array[];
  readonly sigalgs?: string;
}

const tlv = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const value = Buffer.concat(parts);
  const { length } = value;
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...head), value]);
};
const seq = (...parts: Uint8Array[]) => tlv(0x30, ...parts);
const ED25519 = seq(tlv(0x06, Buffer.from("2b6570", "hex")));
const ECDSA_SHA256 = seq(tlv(0x06, Buffer.from("2a8648ce3d040302", "hex")));

/** A self-signed certificate with everything that can be wrong with one. Times are UTCTime or GeneralizedTime. */
function certificate(o: {
  readonly spki: Uint8Array;
  readonly sign: (data: Uint8Array) => Uint8Array;
  readonly algorithm?: Uint8Array;
  readonly from?: string;
  readonly to?: string;
  readonly issuer?: string;
}): Uint8Array {
  const algorithm = o.algorithm ?? ED25519;
  const name = (text: string) => seq(tlv(0x31, seq(tlv(0x06, Buffer.of(0x55, 4, 3)), tlv(0x0c, Buffer.from(text)))));
  const time = (text: string) => tlv(text.length === 13 ? 0x17 : 0x18, Buffer.from(text));
  const validity = seq(time(o.from ?? "700101000000Z"), time(o.to ?? "99991231235959Z"));
  const tbs = seq(
    tlv(0xa0, tlv(0x02, Buffer.of(0))),
    tlv(0x02, Buffer.of(1)),
    algorithm,
    name(o.issuer ?? "someone"),
    validity,
    name("someone"),
    o.spki,
  );
  return seq(tbs, algorithm, tlv(0x03, Buffer.of(0), o.sign(tbs)));
}

const malloryKey = {
  spki: seq(ED25519, tlv(0x03, Buffer.of(0), mallory.publicKey)),
  sign: (data: Uint8Array) => mallory.sign(data),
};
const ec = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const ecKey = {
  spki: new Uint8Array(ec.publicKey.export({ format: "der", type: "spki" })),
  sign: (data: Uint8Array) => new Uint8Array(cryptoSign("sha256", data, ec.privateKey)),
  algorithm: ECDSA_SHA256,
};
const pemOf = (key: KeyObject) => String(key.export({ format: "pem", type: "pkcs8" }));

/** A config of `role` with other TLS credentials than our own code would make. */
function foreign(role: "client" | "server", o: Credentials): QuicConfig {
  const pem = (der: Uint8Array) =>
    `-----BEGIN CERTIFICATE-----\n${Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g)
      ?.join("\n")}\n-----END CERTIFICATE-----\n`;
  const chain = o.certificates?.map(pem).join("");
  const native = quiche.Config.withBoringSslCtx(
    true,
    true,
    null,
    o.key ? [utf8(o.key)] : null,
    chain ? [utf8(chain)] : null,
    o.sigalgs ?? "ed25519",
  );
  native.setApplicationProtos(["test/1"]);
  native.setMaxIdleTimeout(30_000);
  native.setInitialMaxData(1_000_000);
  native.setInitialMaxStreamsBidi(10);
  return Object.assign(config(role, { identity: mallory }), { native });
}

const mallorys = (certificates: Uint8Array[]): Credentials => ({ key: mallory.keyPem, certificates });

/** What is shown, and what the side that is shown it says. */
const cases: readonly (readonly [name: string, Credentials, code: number, reason: RegExp])[] = [
  ["of another key than the expected one", mallorys([certificate(malloryKey)]), 0x12a, /the peer is \w+, not \w+/],
  [
    "that has expired",
    mallorys([certificate({ ...malloryKey, to: "200101000000Z" })]),
    0x12d,
    /certificate has expired; is this side's clock right/,
  ],
  [
    "that is not valid yet",
    mallorys([certificate({ ...malloryKey, from: "99980101000000Z" })]),
    0x12d,
    /certificate is not valid yet/,
  ],
  [
    "that another key signed",
    mallorys([certificate({ ...malloryKey, sign: (data) => alice.sign(data) })]),
    0x12a,
    /not signed by its own key/,
  ],
  ["of another issuer", mallorys([certificate({ ...malloryKey, issuer: "an authority" })]), 0x12a, /its own key/],
  [
    "with a second one behind it",
    mallorys([certificate(malloryKey), certificate({ ...malloryKey, to: "200101000000Z" })]),
    0x12a,
    /a chain of certificates/,
  ],
];

for (const [name, credentials, code, reason] of cases) {
  test(`a client that shows a certificate ${name} is refused`, (t) => {
    const pair = new Pair({ clientConfig: foreign("client", credentials), check: { expectedPeerId: alice.peerId } });
    pair.exchange();
    t.same(types(pair.serverEvents), ["closed"]);
    const end = t.must(closed(pair.serverEvents));
    t.same([end.by, end.isApp, end.code], ["local", false, code]);
    t.match(end.reason, reason);
    t.same(
      [pair.client.closeReason?.by, pair.client.closeReason?.code],
      ["peer", code],
      "the client is told the alert",
    );
    t.equal(pair.client.closeReason?.reason, "", "and no more");
  });

  test(`a server that shows a certificate ${name} is refused`, (t) => {
    const pair = new Pair({
      serverConfig: foreign("server", credentials),
      connect: { expectedPeerId: bob.peerId },
    });
    pair.exchange();
    t.same(types(pair.clientEvents), ["closed"]);
    const end = t.must(closed(pair.clientEvents));
    t.same([end.by, end.isApp, end.code], ["local", false, code]);
    t.match(end.reason, reason);
    t.equal(pair.server?.closeReason?.code, code);
    t.throws(() => pair.client.openStream(), { code: "closed" });
  });
}

const p256: Credentials = {
  key: pemOf(ec.privateKey),
  certificates: [certificate(ecKey)],
  sigalgs: "ecdsa_secp256r1_sha256:ed25519",
};

test("a key that is not Ed25519 does not get through TLS, on either side: only Ed25519 signatures are offered", (t) => {
  const asClient = new Pair({ clientConfig: foreign("client", p256) });
  asClient.exchange();
  const asServer = new Pair({ serverConfig: foreign("server", p256) });
  asServer.exchange();
  for (const pair of [asClient, asServer]) {
    t.notOk([...types(pair.serverEvents), ...types(pair.clientEvents)].includes("established"));
    for (const side of [pair.client, pair.peer]) {
      const { isApp, code } = t.must(side.closeReason);
      t.ok(!isApp && code >= 0x100 && code < 0x200, `a TLS alert, not ${code}`);
    }
  }
  t.same(readCertificate(certificate(ecKey)), { fault: "not-ed25519" });
});

test("a client without a certificate is refused by TLS: certificate_required", (t) => {
  const pair = new Pair({ clientConfig: foreign("client", {}) });
  pair.exchange();
  t.same(types(pair.serverEvents), ["closed"]);
  t.equal(t.must(closed(pair.serverEvents)).code, 0x174);
  t.same([pair.client.closeReason?.by, pair.client.closeReason?.code], ["peer", 0x174]);
});

test("a server without a certificate makes no connection", (t) => {
  const pair = new Pair({ serverConfig: foreign("server", {}) });
  pair.exchange();
  t.notOk([...types(pair.clientEvents), ...types(pair.serverEvents)].includes("established"));
  const { by, isApp } = t.must(pair.client.closeReason);
  t.same([by, isApp], ["peer", false]);
  t.equal(pair.peer.closeReason?.by, "local");
});

// BoringSSL neither sends nor takes these: what is tested is the check behind it, which both sides have in common.
test("a certificate that cannot be read, or none at all, is nobody's", (t) => {
  const shows = (...chain: Uint8Array[]) => ({ peerCertChain: () => chain }) as unknown as NativeConnection;
  const good = certificate(malloryKey);
  t.same(checkPeer(shows(good), {}), { peerId: mallory.peerId });
  for (const bad of [
    new Uint8Array(),
    good.subarray(0, 100),
    Buffer.concat([good, Buffer.of(0)]),
    new Uint8Array(300),
  ]) {
    t.same(checkPeer(shows(bad), {}), { code: 0x12a, reason: "the peer's certificate is malformed" });
  }
  const months = certificate({ ...malloryKey, from: "701301000000Z" });
  t.same(checkPeer(shows(months), {}), { code: 0x12a, reason: "the peer's certificate is malformed" });
  t.same(checkPeer(shows(certificate(ecKey)), {}), {
    code: 0x12b,
    reason: "the key of the peer's certificate is not Ed25519",
  });
  t.same(checkPeer(shows(), {}), { code: 0x174, reason: "the peer showed no certificate" });
});
