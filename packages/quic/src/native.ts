import { AditError } from "@adit/core";

export type {
  Config as NativeConfig,
  Connection as NativeConnection,
  PathStats as NativePathStats,
} from "@matrixai/quic/native/types.js";

/** The native library does not load on this machine. */
class NativeMissingError extends AditError {
  override readonly code = "native-missing";
}

// The one place that names the binding: an executable bundle replaces this module's import with a static path.
const binding = await import("@matrixai/quic/native/quiche.js").catch((cause: unknown) => {
  const machine = `${process.platform}-${process.arch}`;
  throw new NativeMissingError(
    `the QUIC library (quiche) does not load on ${machine}. It is prebuilt for linux-x64, macOS and windows-x64: on one of these install ` +
      "anew with `npm ci` (without --omit=optional); elsewhere Adit does not run",
    { cause },
  );
});

export const quiche = binding.default;
