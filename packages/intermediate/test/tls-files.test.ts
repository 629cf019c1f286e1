import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, nullLogger } from "@adit/core";
import { test } from "@adit/harness";
import { Identity } from "@adit/quic";
import { readTlsFiles, TlsFiles } from "../src/tls-files.ts";

test("--tls-cert and --tls-key are read together, or refused with a sentence that names the file", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "adit-tls-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const [one, two] = [Identity.generate(), Identity.generate()];
  const cert = file("cert.pem", one.certificatePem);
  const key = file("key.pem", one.keyPem);
  t.equal(readTlsFiles(undefined, undefined), undefined);
  t.same(readTlsFiles(cert, key), { cert: one.certificatePem, key: one.keyPem });
  const refused = (certFile: string | undefined, keyFile: string | undefined, why: RegExp): void =>
    t.throws(() => readTlsFiles(certFile, keyFile), why);
  refused(cert, undefined, /belong together/);
  refused(undefined, key, /belong together/);
  refused(cert, file("other.pem", two.keyPem), /the key in .*other\.pem is not that of the certificate/);
  refused(join(dir, "absent.pem"), key, /--tls-cert .*absent\.pem cannot be read/);
  refused(file("noise.pem", "noise"), key, /noise\.pem .* are not a PEM certificate and its key/);
});

test("the files are read again: what is right is shown, what is not changes nothing and is counted", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "adit-tls-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  const put = (certificate: Identity, keyOf: Identity): void => {
    writeFileSync(cert, certificate.certificatePem);
    writeFileSync(key, keyOf.keyPem);
  };
  const [one, two] = [Identity.generate(), Identity.generate()];
  put(one, one);
  const files = new TlsFiles(cert, key, nullLogger);
  const shown: string[] = [];
  const reload = () => files.reload(({ cert }) => shown.push(cert));
  put(two, one);
  reload();
  t.equal(files.failures, 1);
  t.same(shown, []);
  put(two, two);
  reload();
  t.equal(files.failures, 0);
  t.same(shown, [two.certificatePem]);
});

test("a certificate that has ended, or is about to, is shown and warned of", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "adit-tls-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const { certificatePem, keyPem } = Identity.generate();
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  writeFileSync(cert, certificatePem);
  writeFileSync(key, keyPem);
  const { validFrom, validTo } = new X509Certificate(certificatePem);
  const [from, until] = [Date.parse(validFrom), Date.parse(validTo)];
  const cases: readonly (readonly [number, string | null])[] = [
    [from - 1, "certificate-not-yet-valid"],
    [from, null],
    [until - 8 * 86_400_000, null],
    [until - 6 * 86_400_000, "certificate-ends-soon"],
    [until, "certificate-expired"],
  ];
  for (const [now, event] of cases) {
    const warned: string[] = [];
    const log: Logger = { ...nullLogger, warn: (event) => warned.push(event) };
    const files = new TlsFiles(cert, key, log, () => now);
    t.same(warned, event === null ? [] : [event], new Date(now).toISOString());
    t.equal(files.notAfter, until);
    files.reload(() => {});
    t.equal(warned.length, event === null ? 0 : 2, "and again when it is read again");
  }
  t.equal(new TlsFiles(undefined, undefined, nullLogger).notAfter, null);
});
