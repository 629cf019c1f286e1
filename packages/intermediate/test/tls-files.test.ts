import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nullLogger } from "@adit/core";
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
