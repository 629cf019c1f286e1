/** The certificate of the TLS listeners, from a file pair: read at the start, and again on SIGHUP. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Logger } from "@adit/core";
import { ExitError, sentenceOf } from "@adit/program";

export interface TlsCertificate {
  /** PEM, the chain. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
}

/** So long before its end a certificate is warned of. */
const SOON_MS = 7 * 86_400_000;

export class TlsFiles {
  /** Undefined when no files are named: then the identity's own certificate is shown. */
  readonly certificate: TlsCertificate | undefined;
  readonly #files: readonly [cert: string | undefined, key: string | undefined];
  readonly #log: Logger;
  readonly #unixMs: () => number;
  #failures = 0;
  #notAfter: number | null;

  /** @throws ExitError `usage` */
  constructor(certFile: string | undefined, keyFile: string | undefined, log: Logger, unixMs = Date.now) {
    this.#unixMs = unixMs;
    this.#files = [certFile, keyFile];
    this.#log = log;
    this.certificate = readTlsFiles(certFile, keyFile);
    this.#notAfter = this.certificate ? this.#judge(this.certificate) : null;
  }

  /** When the certificate that is shown ends, Unix time, ms; null when no files are named. */
  get notAfter(): number | null {
    return this.#notAfter;
  }

  /** Times that the files could not be taken since they last could. */
  get failures(): number {
    return this.#failures;
  }

  /** Reads both again and hands them to `show`. Files that are not right change nothing, and are told in the log. */
  reload(show: (certificate: TlsCertificate) => void): void {
    const [cert, key] = this.#files;
    try {
      const certificate = readTlsFiles(cert, key);
      if (!certificate) return;
      show(certificate);
      this.#failures = 0;
      this.#notAfter = this.#judge(certificate);
      this.#log.info("certificate-reloaded", { path: cert, until: new X509Certificate(certificate.cert).validTo });
    } catch (error) {
      this.#failures++;
      this.#log.error("certificate-kept", { message: `the old certificate stays in use: ${sentenceOf(error)}` });
    }
  }

  /** When it ends. One that clients will not take is shown all the same: our own programs pin a key, and are not the ones that look. */
  #judge({ cert }: TlsCertificate): number {
    const { validFrom, validTo } = new X509Certificate(cert);
    const [from, until] = [Date.parse(validFrom), Date.parse(validTo)];
    const now = this.#unixMs();
    const path = this.#files[0];
    const warn = (event: string, what: string) =>
      this.#log.warn(event, { path, message: `the certificate in ${path} ${what}; renew it, then reload (SIGHUP)` });
    if (until <= now) warn("certificate-expired", `ended on ${validTo}: TURN clients over TLS will refuse it`);
    else if (from > now)
      warn("certificate-not-yet-valid", `begins on ${validFrom}: TURN clients over TLS will refuse it`);
    else if (until - now < SOON_MS) warn("certificate-ends-soon", `ends on ${validTo}`);
    return until;
  }
}

/**
 * Reads and checks both files; undefined when none is named: then the identity's own certificate is shown.
 * @throws ExitError `usage` when one is missing, unreadable, or they do not belong together.
 */
export function readTlsFiles(certFile: string | undefined, keyFile: string | undefined): TlsCertificate | undefined {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined || keyFile === undefined) {
    throw new ExitError("usage", "--tls-cert and --tls-key belong together: give both, or neither");
  }
  const cert = read("--tls-cert", certFile);
  const key = read("--tls-key", keyFile);
  let fits: boolean;
  try {
    fits = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch (error) {
    const message = `--tls-cert ${certFile} and --tls-key ${keyFile} are not a PEM certificate and its key: ${sentenceOf(error)}`;
    throw new ExitError("usage", message, { cause: error });
  }
  if (!fits) throw new ExitError("usage", `the key in ${keyFile} is not that of the certificate in ${certFile}`);
  return { cert, key };
}

function read(option: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ExitError("usage", `${option} ${file} cannot be read: ${sentenceOf(error)}`, { cause: error });
  }
}
