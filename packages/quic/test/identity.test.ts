import { execFileSync, spawnSync } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromHex, seededRandom, toHex, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import {
  Identity,
  peerIdFromCertificate,
  peerIdFromPublicKey,
  publicKeyFromPeerId,
  verifySignature,
} from "../src/index.ts";
import { alice, bob } from "./pair.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const needsOpenssl = hasOpenssl ? false : "there is no openssl command";

/** An RFC 8032 §7.1 key pair: TEST 1. */
const SEED = fromHex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
const PUBLIC = fromHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
const SIGNATURE = fromHex(
  "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
);

test("a key gives the public key and the signature of RFC 8032 §7.1", (t) => {
  const identity = Identity.generate({ bytes: () => SEED, float: () => 0 });
  t.same(identity.publicKey, PUBLIC);
  t.same(identity.sign(new Uint8Array(0)), SIGNATURE);
  t.equal(identity.peerId, "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkena");
  t.same(publicKeyFromPeerId(identity.peerId), PUBLIC);
});

test("a key survives its PEM, and its certificate is always the same", (t) => {
  const again = Identity.fromPkcs8Pem(alice.toPkcs8Pem());
  t.equal(again.peerId, alice.peerId);
  t.equal(again.certificatePem, alice.certificatePem);
  t.notEqual(alice.peerId, bob.peerId);
  t.notOk(JSON.stringify({ alice }).includes("PRIVATE"), "a logged identity shows no key");
});

test("other keys are refused with a sentence", (t) => {
  const rsa = generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
  t.throws(() => Identity.fromPkcs8Pem(String(rsa.export({ format: "pem", type: "pkcs8" }))), {
    code: "bad-key",
    message: "the key must be Ed25519, this one is ec",
  });
  t.throws(() => Identity.fromPkcs8Pem("hello"), { code: "bad-key" });
  t.throws(() => Identity.fromPkcs8Pem(alice.certificatePem), { code: "bad-key" });
});

test("a signature is its signer's, over these bytes", (t) => {
  const data = utf8("adit");
  const signature = alice.sign(data);
  t.ok(verifySignature(alice.peerId, data, signature));
  t.notOk(verifySignature(bob.peerId, data, signature));
  t.notOk(verifySignature(alice.peerId, utf8("edit"), signature));
  t.notOk(verifySignature(alice.peerId, data, signature.slice(1)));
  t.notOk(verifySignature("not a peer", data, signature));
});

test("what is not the canonical text of 32 bytes is no PeerId", (t) => {
  const good = alice.peerId;
  for (const text of ["", good.slice(1), `${good}a`, good.toUpperCase(), `${good.slice(0, 51)}1`]) {
    t.equal(publicKeyFromPeerId(text), null, text);
  }
  t.throws(() => peerIdFromPublicKey(new Uint8Array(31)), { code: "bad-key" });
});

test("a certificate names its key, at any time a clock may show", (t) => {
  for (const wallClock of [0, Date.UTC(2026, 0), Date.UTC(2120, 0), Date.UTC(9999, 11, 31)]) {
    t.equal(peerIdFromCertificate(alice.certificate, wallClock), alice.peerId, new Date(wallClock).toISOString());
  }
  t.equal(peerIdFromCertificate(alice.certificate, Date.UTC(10_000, 0, 2)), null);
  t.equal(peerIdFromCertificate(alice.certificate, -1), null);
  for (let seed = 0; seed < 50; seed++) {
    const identity = Identity.generate(seededRandom(seed));
    t.equal(peerIdFromCertificate(identity.certificate), identity.peerId, `seed ${seed}`);
  }
});

test("a certificate that was tampered with names nobody", (t) => {
  const der = alice.certificate;
  for (let i = 0; i < der.length; i++) {
    const forged = der.slice();
    forged[i] = (forged[i] as number) ^ 0x01;
    t.equal(peerIdFromCertificate(forged), null, `byte ${i}`);
  }
  for (const length of [0, 1, 100, der.length - 1]) t.equal(peerIdFromCertificate(der.slice(0, length)), null);
  const longer = new Uint8Array(der.length + 1);
  longer.set(der);
  t.equal(peerIdFromCertificate(longer), null, "a byte behind it");
  t.equal(peerIdFromCertificate(seededRandom(9).bytes(300)), null);
});

test("node:crypto reads in the certificate what was written", (t) => {
  const certificate = new X509Certificate(alice.certificatePem);
  t.equal(certificate.subject, `CN=${alice.peerId}`);
  t.equal(certificate.issuer, certificate.subject);
  t.equal(certificate.subjectAltName, `DNS:${alice.peerId}`);
  t.ok(certificate.checkIssued(certificate));
  t.ok(certificate.verify(certificate.publicKey));
  t.match(certificate.serialNumber, /^[4-7][0-9A-F]{31}$/);
});

test(
  "openssl accepts the certificate, and its own certificates of Ed25519 keys are read; of other keys not",
  (t) => {
    const directory = mkdtempSync(join(tmpdir(), "adit-quic-"));
    t.teardown(() => rmSync(directory, { recursive: true }));
    const at = (name: string) => join(directory, name);
    const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: ["ignore", "pipe", "pipe"] });

    writeFileSync(at("ours.pem"), alice.certificatePem);
    t.match(String(openssl("verify", "-check_ss_sig", "-CAfile", at("ours.pem"), at("ours.pem"))), /: OK/);
    const text = String(openssl("x509", "-in", at("ours.pem"), "-noout", "-text"));
    t.match(text, /Version: 3 \(0x2\)[\s\S]*Signature Algorithm: ED25519[\s\S]*Dec 31 23:59:59 9999 GMT/);

    writeFileSync(at("key.pem"), bob.keyPem);
    openssl("req", "-x509", "-new", "-key", at("key.pem"), "-subj", "/CN=other", "-days", "1", "-out", at("b.pem"));
    const der = (name: string) => new Uint8Array(new X509Certificate(openssl("x509", "-in", at(name))).raw);
    t.equal(peerIdFromCertificate(der("b.pem")), bob.peerId);
    t.equal(peerIdFromCertificate(der("b.pem"), Date.now() + 2 * 86_400_000), null, "it has expired by then");

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", at("ec.key"));
    openssl("req", "-x509", "-new", "-key", at("ec.key"), "-subj", "/CN=ec", "-days", "1", "-out", at("ec.pem"));
    t.equal(peerIdFromCertificate(der("ec.pem")), null, "not Ed25519");

    openssl("req", "-new", "-key", at("key.pem"), "-subj", "/CN=leaf", "-out", at("leaf.csr"));
    const signed = ["-CA", at("ec.pem"), "-CAkey", at("ec.key"), "-set_serial", "5", "-out", at("leaf.pem")];
    openssl("x509", "-req", "-in", at("leaf.csr"), "-days", "1", ...signed);
    t.equal(peerIdFromCertificate(der("leaf.pem")), null, "signed by somebody else");
    t.ok(toHex(der("leaf.pem")).includes(toHex(bob.publicKey)), "although the key is Ed25519");
  },
  { skip: needsOpenssl },
);
