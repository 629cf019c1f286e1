/** The certificate of the TLS listeners, from a file pair. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { ExitError, sentenceOf } from "@adit/program";

export interface TlsCertificate {
  /** PEM, the chain. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
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
