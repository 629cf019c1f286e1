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

export class TlsFiles {
  /** Undefined when no files are named: then the identity's own certificate is shown. */
  readonly certificate: TlsCertificate | undefined;
  readonly #files: readonly [cert: string | undefined, key: string | undefined];
  readonly #log: Logger;
  #failures = 0;

  /** @throws ExitError `usage` */
  constructor(certFile: string | undefined, keyFile: string | undefined, log: Logger) {
    this.#files = [certFile, keyFile];
    this.#log = log;
    this.certificate = readTlsFiles(certFile, keyFile);
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
      this.#log.info("certificate-reloaded", { path: cert, until: new X509Certificate(certificate.cert).validTo });
    } catch (error) {
      this.#failures++;
      this.#log.error("certificate-kept", { message: `the old certificate stays in use: ${sentenceOf(error)}` });
    }
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
